"""Adaptation curves: the return along lifetimes in held-out tasks. Their statistics: `metarl_run.maths.statistics`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.diagnostics import diagnose
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import parallel
from metarl_run.errors import NumericalError, located
from metarl_run.exact import expected_returns, optimal_returns
from metarl_run.kinds import Reduction
from metarl_run.lifetime import live
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.rollout import Collect, collect
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime, Rollout

ENVS_AT_ONCE = 1000
"""Environments of held-out tasks that run in parallel: enough to fill the processor, few enough to bound memory."""


class Evaluation(NamedTuple):
    """Results on held-out tasks.

    Attributes:
        rows: adaptation rows, see `COLUMNS`.
        lifetime_returns: the sum of rewards over each task's whole lifetime.
        task_hashes: fingerprint of each task.
        env_steps: environment steps over all tasks.
        diagnostics: of an agent with memory, see `metarl_run.diagnostics`.
    """

    rows: list[dict[str, Any]]
    lifetime_returns: list[float]
    task_hashes: list[str]
    env_steps: int
    diagnostics: Mapping[str, Sequence[float]] = {}


def episode_sums(x: torch.Tensor, rollout: Rollout) -> torch.Tensor:
    """Sums of `x` over each episode: `[M, T, B]` → `[M, n, B]`, n consecutive episodes of each environment."""
    episode, n = _episodes(rollout)
    sums = x.new_zeros(x.shape[0], n + 1, x.shape[2])
    return sums.scatter_add(1, episode, x)[:, :n]


def _episodes(rollout: Rollout) -> tuple[torch.Tensor, int]:
    """The episode of each step, `[M, T, B]`, n for padding; and n."""
    ended = rollout.ended.long()
    episode = ended.cumsum(-2) - ended  # episodes that ended before step t
    n = int(episode[rollout.alive].max()) + 1
    return torch.where(rollout.alive, episode, n), n


REDUCTIONS: Mapping[Reduction, str] = {"max": "amax", "min": "amin", "mean": "mean", "sum": "sum"}
"""PyTorch's names."""


def episode_outcomes(rollout: Rollout, reductions: Mapping[str, Reduction]) -> dict[str, torch.Tensor]:
    """Outcomes of each episode, by name `[M, n, B]`: of its steps' values the largest, …, or that of its last step.

    An episode has succeeded if any of its steps has: `success` is `max`.

    Args:
        rollout: n consecutive episodes in each environment.
        reductions: of each outcome, see `metarl_run.env.base.TaskFamily`.
    """
    found = {}
    for name, reduction in reductions.items():
        x = rollout.outcomes[name]
        if reduction == "last":
            found[name] = episode_sums(torch.where(rollout.ended, x, 0.0), rollout)
            continue
        episode, n = _episodes(rollout)
        empty = x.new_zeros(x.shape[0], n + 1, x.shape[2])
        found[name] = empty.scatter_reduce(1, episode, x, REDUCTIONS[reduction], include_self=False)[:, :n]
    return found


def rows_of(
    lifetime: Lifetime,
    *,
    split: str,
    iteration: int,
    seed: int,
    first_task: int,
    expected: Sequence[Sequence[float | None]] | None,
    optimal: Sequence[float] | None,
    reward_unit: float = 1.0,
    reductions: Mapping[str, Reduction] | None = None,
) -> list[dict[str, Any]]:
    """The adaptation rows of one lifetime in each task.

    Row k of a task is its mean return over environments after k adaptations: after k rollouts, or, for an agent that
    remembers, after k episodes. `episodes_seen` and `env_steps_seen` count the experience of that agent: earlier
    rollouts in all environments, and earlier episodes of its own environment. Each outcome of the family has a column,
    its mean over environments as well: of `success`, the fraction of episodes that succeeded at any of their steps.

    Args:
        lifetime: of M tasks.
        split, iteration, seed: columns of the rows.
        first_task: index of the first of these tasks.
        expected: expected return of each agent in each task, `[k][task]`, if known.
        optimal: of each task, if known.
        reward_unit: see `TaskFamily.reward_unit`.
        reductions: of each outcome, see `episode_outcomes`.
    """
    steps_before = torch.zeros(len(lifetime.rollouts[0].reward))
    episodes_before = step = 0
    rows: list[dict[str, Any]] = []
    for rollout in lifetime.rollouts:
        returns = episode_sums(rollout.reward, rollout).mean(-1) * reward_unit
        outcomes = {name: x.mean(-1).T.tolist() for name, x in episode_outcomes(rollout, reductions or {}).items()}
        steps = episode_sums(rollout.alive.float(), rollout)
        seen = steps_before.unsqueeze(-1) + (steps.cumsum(1) - steps).mean(-1).cpu()
        for episode, (values, steps_seen) in enumerate(zip(returns.T.tolist(), seen.T.tolist(), strict=True)):
            rows += [
                {
                    "split": split,
                    "iteration": iteration,
                    "task": first_task + task,
                    "adaptation_step": step,
                    "episodes_seen": episodes_before + episode,
                    "env_steps_seen": steps_seen[task],
                    "episode_return": value,
                    "expected_return": expected[step][task] if expected else None,
                    "optimal_return": optimal[task] if optimal else None,
                    "seed": seed,
                    **{name: x[episode][task] for name, x in outcomes.items()},
                }
                for task, value in enumerate(values)
            ]
            step += 1
        steps_before = steps_before + steps.sum((1, 2)).cpu()
        episodes_before += steps.shape[1] * steps.shape[2]
    return rows


def lifetime_returns(lifetime: Lifetime, *, remembers: bool, reward_unit: float = 1.0) -> list[float]:
    """The sum of rewards over each task's lifetime; with an agent that remembers, each environment is a lifetime."""
    totals = torch.stack([rollout.reward.sum((1, 2)).double() for rollout in lifetime.rollouts]).sum(0)
    lifetimes_per_task = lifetime.rollouts[0].reward.shape[2] if remembers else 1
    return (totals / lifetimes_per_task * reward_unit).tolist()


def evaluate(
    algo: MetaAlgorithm,
    family: TaskFamily,
    streams: Streams,
    *,
    split: str,
    iteration: int,
    num_tasks: int,
    adaptation_steps: int,
    episodes_per_task: int,
    diagnosed: bool = False,
    collect: Collect = collect,
) -> Iterator[Evaluation]:
    """Evaluate on held-out tasks, a part of them at a time; they come from streams named after `split`.

    Tasks and randomness depend on the seed and `split` alone, so evaluations of a run are comparable, and evaluating or
    not changes nothing else.

    Args:
        algo, family, streams: of the run.
        split, iteration: columns of the rows.
        num_tasks: M.
        adaptation_steps: K.
        episodes_per_task: B.
        diagnosed: with diagnostics of agents with memory.
        collect: collects the rollouts.

    Raises:
        NumericalError: if an observation, a reward, an inner loss or gradient, an adapted parameter or a sum of rewards
            is not finite.
    """
    tasks = family.sample(num_tasks, "meta_test", streams(f"{split}/tasks"))
    for part, block in enumerate(parts_of(num_tasks, episodes_per_task)):
        first, task = block.start, tasks.select(block)
        env = parallel(family, task, episodes_per_task=episodes_per_task, generator=streams(f"{split}/env", part))
        with torch.no_grad(), located(f"{split} after meta-iteration {iteration}", first_task=first):
            actions = streams(f"{split}/actions", part)
            lifetime = live(algo, env, actions, adaptation_steps=adaptation_steps, collect=collect)
            require_finite_returns(family, lifetime)
            expected = expected_returns(algo, lifetime.agents, family, task)
            shuffles = streams(f"{split}/shuffles", part)
            diagnostics = diagnose(algo, family, task, lifetime, shuffles) if diagnosed else {}
        yield Evaluation(
            rows=rows_of(
                lifetime,
                split=split,
                iteration=iteration,
                seed=streams.seed,
                first_task=first,
                expected=expected,
                optimal=optimal_returns(family, task),
                reward_unit=family.reward_unit,
                reductions=family.outcomes,
            ),
            lifetime_returns=lifetime_returns(lifetime, remembers=algo.remembers, reward_unit=family.reward_unit),
            task_hashes=task.hashes(),
            env_steps=sum(rollout.env_steps for rollout in lifetime.rollouts),
            diagnostics=diagnostics,
        )


def parts_of(num_tasks: int, episodes_per_task: int) -> list[slice]:
    """The tasks of an evaluation that run at a time."""
    size = max(1, ENVS_AT_ONCE // episodes_per_task)
    return [slice(first, min(first + size, num_tasks)) for first in range(0, num_tasks, size)]


def require_finite_returns(family: TaskFamily, lifetime: Lifetime) -> None:
    """Raise NumericalError if finite rewards add up to infinity in some task."""
    totals = torch.stack([rollout.reward.sum((1, 2)) for rollout in lifetime.rollouts], 1)  # [M, K + 1]
    if not all_finite(totals):
        found = first_not_finite(totals)
        assert found is not None
        (task, k), got = found
        where, at = f"return of {type(family).__name__}", (f"rollout {k}",)
        raise NumericalError(where, f"must be finite, got {got}", "choose a larger unit of reward", task=task, at=at)


def task_counts(hashes: Sequence[str], family: TaskFamily) -> dict[str, int | None]:
    """The number of held-out tasks, of distinct and of new ones.

    Args:
        hashes: fingerprint of each task.
        family: their family.

    Returns:
        `number`, `distinct`, and `new`, the distinct ones that meta-training cannot draw: None unless the family can
        list its tasks.
    """
    distinct, trained = set(hashes), family.all_tasks("meta_train")
    new = None if trained is None else len(distinct - set(trained.hashes()))
    return {"number": len(hashes), "distinct": len(distinct), "new": new}


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """One evaluation of all parts' tasks."""
    return Evaluation(
        rows=[row for part in parts for row in part.rows],
        lifetime_returns=[value for part in parts for value in part.lifetime_returns],
        task_hashes=[task_hash for part in parts for task_hash in part.task_hashes],
        env_steps=sum(part.env_steps for part in parts),
        diagnostics=_mean_diagnostics(parts),
    )


def _mean_diagnostics(parts: Sequence[Evaluation]) -> dict[str, list[float]]:
    """The mean over parts, weighted by their tasks; of episodes that all have."""
    weights = [len(part.task_hashes) / sum(len(other.task_hashes) for other in parts) for part in parts]
    return {
        name: [
            sum(w * x for w, x in zip(weights, values, strict=True))
            for values in zip(*(part.diagnostics[name] for part in parts), strict=False)
        ]
        for name in parts[0].diagnostics
    }
