"""Adaptation curves: the return along lifetimes in held-out tasks, and its statistics over tasks and seeds.

A curve is a mapping of equally long lists: `adaptation_step`, `episodes_seen`, `env_steps_seen` (of one task, averaged
over tasks), and over tasks the `mean`, the interquartile mean `iqm`, and `low`, `high`: the 95 % bootstrap interval of
the mean, None of one task, which has none. Where the returns can be computed instead of sampled, it also has their mean
`expected`, and the mean `optimum` of the best policies; see `metarl_run.exact`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.exact import expected_returns, optimal_returns
from metarl_run.lifetime import live
from metarl_run.seeding import Streams
from metarl_run.types import Lifetime, Rollout

COLUMNS = (
    "split",
    "iteration",
    "task",
    "adaptation_step",
    "episodes_seen",
    "env_steps_seen",
    "episode_return",
    "expected_return",
    "optimal_return",
    "seed",
)
"""Columns of an adaptation row: one per task and adaptation step.

`episode_return` is sampled. `expected_return` is what it is in expectation, and `optimal_return` the most that it could
be in the task; each is None where it cannot be computed.
"""

EXACT = {"expected": "expected_return", "optimum": "optimal_return"}
"""Parts of a curve that it has only if every row has the column."""

RESAMPLES = 2000
RESAMPLES_AT_ONCE = 100
"""Drawn together, to bound memory: a number per resample and task."""

CONFIDENCE = 0.95


def interquartile_mean(x: np.ndarray) -> float:
    """The mean of the middle half of `x`, the outermost kept entries weighted by the fraction that lies inside.

    Source: Agarwal et al. (2021), arXiv:2108.13264; without fractional weights for counts divisible by 4.
    """
    ordered = np.sort(np.ravel(x))
    edges = np.arange(len(ordered) + 1) / len(ordered)  # entry i covers [edges[i], edges[i + 1]]
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float((ordered * inside).sum() / inside.sum())


def bootstrap_interval(
    values: Sequence[np.ndarray], generator: np.random.Generator, *, same_tasks: bool = False
) -> np.ndarray:
    """The interval that holds the mean with 95 % confidence, by a bootstrap over seeds and tasks.

    Tasks of one seed share a meta-trained agent, so they are not independent, and pooling them gives intervals that are
    far too short. Seeds with tasks of their own are strata: seeds are drawn with replacement, then tasks within each.
    Seeds in the same tasks are crossed with them: a resample draws seeds, and one set of tasks for all of them.

    The bootstrap knows no more agents than there are seeds: how often it holds the mean where these differ is told by
    `metarl_run.report.interval.COVERAGE`. With a single seed it speaks about tasks only, for that one agent.

    Args:
        values: one array per seed, `[tasks]` or `[tasks, points]`; a resample takes the same tasks at every point.
        generator: numpy randomness.
        same_tasks: entry i of every seed's array is of the same task.

    Returns:
        Its two ends, `[2]` or `[2, points]`; NaN if all values are of one task, whose return says nothing of others.

    Source: Davison & Hinkley (1997), Bootstrap Methods and Their Application (strata); Owen (2007), The pigeonhole
    bootstrap, arXiv:0712.1111 (crossed).
    """
    num_seeds = len(values)
    if max(map(len, values)) == 1 and (num_seeds == 1 or same_tasks):
        return np.full((2, *values[0].shape[1:]), np.nan)
    if same_tasks:
        crossed = np.stack(values, 1)  # [tasks, seeds, points]
        drawn = resampled_means(crossed.reshape(len(crossed), -1), generator)
        drawn = drawn.reshape(RESAMPLES, *crossed.shape[1:])
    else:
        drawn = np.stack([resampled_means(stratum, generator) for stratum in values], 1)  # [RESAMPLES, seeds, points]
    if num_seeds > 1:
        chosen = generator.integers(num_seeds, size=(RESAMPLES, num_seeds))
        # A seed drawn twice needs two independent resamples of tasks of its own.
        rows = np.arange(RESAMPLES)[:, None] if same_tasks else generator.integers(RESAMPLES, size=chosen.shape)
        means = drawn[rows, chosen].mean(1)
    else:
        means = drawn[:, 0]
    tail = (1 - CONFIDENCE) / 2
    ends: np.ndarray = np.quantile(means, [tail, 1 - tail], axis=0)
    return ends


def lifetime_statistics(values: Sequence[np.ndarray], *, same_tasks: bool = False) -> dict[str, float | None]:
    """Statistics of the lifetime return; the randomness of the bootstrap is fixed.

    Args:
        values: one array per seed, `[tasks]`.
        same_tasks: entry i of every seed's array is of the same task.

    Returns:
        `mean`; `low` and `high`, its 95 % interval; `std`, the standard deviation over the tasks of one seed, √ of its
        mean square over seeds; and of a single seed `standard_error`, std / √tasks, to which its interval is the
        bootstrap's estimate. All but the mean are None of one task.
    """
    low, high = map(float, bootstrap_interval(values, np.random.default_rng(0), same_tasks=same_tasks))
    several = all(len(of_seed) > 1 for of_seed in values)
    std = float(np.sqrt(np.mean([of_seed.var(ddof=1) for of_seed in values]))) if several else math.nan
    error = std / math.sqrt(len(values[0])) if len(values) == 1 else math.nan
    mean = float(np.mean([of_seed.mean() for of_seed in values]))
    unsure = {"low": low, "high": high, "std": std, "standard_error": error}
    return {"mean": mean, **{name: known(value) for name, value in unsure.items()}}


def known(x: float) -> float | None:
    """`x`, or None if it is no number: JSON has no NaN."""
    return None if math.isnan(x) else x


def resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of `[tasks, points]` over tasks drawn with replacement, `[RESAMPLES, points]`, by counts times values."""
    n, means = len(values), []
    for _ in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        drawn = generator.integers(n, size=(RESAMPLES_AT_ONCE, n))
        counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
        means.append(counts.astype(float) @ values / n)
    return np.concatenate(means)


def strata(rows: Sequence[Mapping[str, Any]], column: str) -> list[np.ndarray]:
    """The values of one column, an array per seed."""
    by_seed: dict[Any, list[Any]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], []).append(row[column])
    return [np.array(by_seed[seed]) for seed in sorted(by_seed)]


def by_step(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """The rows after each adaptation step, the steps in order."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["adaptation_step"], []).append(row)
    return dict(sorted(found.items()))


def curve_of(rows: Sequence[Mapping[str, Any]], *, same_tasks: bool = False) -> dict[str, list[Any]]:
    """The adaptation curve of rows of one evaluation, over one seed or several; the statistics' randomness is fixed.

    Args:
        rows: adaptation rows, see `COLUMNS`.
        same_tasks: rows of equal `task` are of the same task, whatever their seed.
    """
    if same_tasks:
        rows = sorted(rows, key=lambda row: row["task"])
    exact = [name for name, column in EXACT.items() if all(row.get(column) is not None for row in rows)]
    curve: dict[str, list[Any]] = {
        name: []
        for name in ("adaptation_step", "episodes_seen", "env_steps_seen", "mean", "iqm", "low", "high", *exact)
    }
    returns = []
    for step, here in by_step(rows).items():
        values = strata(here, "episode_return")
        returns.append(values)
        curve["adaptation_step"].append(int(step))
        curve["episodes_seen"].append(float(np.mean([row["episodes_seen"] for row in here])))
        curve["env_steps_seen"].append(float(np.mean([row["env_steps_seen"] for row in here])))
        curve["mean"].append(float(np.mean([v.mean() for v in values])))
        curve["iqm"].append(interquartile_mean(np.concatenate(values)))
        for name in exact:
            curve[name].append(float(np.mean([v.mean() for v in strata(here, EXACT[name])])))
    curve["low"], curve["high"] = intervals(returns, same_tasks=same_tasks)
    return curve


def intervals(
    returns: Sequence[Sequence[np.ndarray]], *, same_tasks: bool
) -> tuple[list[float | None], list[float | None]]:
    """The bootstrap interval at each adaptation step, of `[step][seed]` arrays of task values.

    Steps that were lived in equally many tasks share their resamples.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for step, values in enumerate(returns):
        alike.setdefault(tuple(map(len, values)), []).append(step)
    low, high = np.empty(len(returns)), np.empty(len(returns))
    for steps in alike.values():
        values = [np.stack(stratum, 1) for stratum in zip(*(returns[step] for step in steps), strict=True)]
        low[steps], high[steps] = bootstrap_interval(values, np.random.default_rng(0), same_tasks=same_tasks)
    return list(map(known, low.tolist())), list(map(known, high.tolist()))


SLOTS_AT_ONCE = 1000
"""Episode slots of held-out tasks that live side by side: enough to fill the processor, few enough to bound memory."""


class Evaluation(NamedTuple):
    """What held-out tasks showed.

    Attributes:
        rows: adaptation rows, see `COLUMNS`.
        lifetime_returns: the sum of rewards over each task's whole lifetime.
        task_hashes: fingerprint of each task.
        env_steps: steps taken, over all tasks.
    """

    rows: list[dict[str, Any]]
    lifetime_returns: list[float]
    task_hashes: list[str]
    env_steps: int


def episode_sums(x: torch.Tensor, rollout: Rollout) -> torch.Tensor:
    """Sums of `x` over each episode of each slot: `[M, T, B]` → `[M, n, B]`, n episodes one after another."""
    ended = rollout.ended.long()
    episode = ended.cumsum(-2) - ended  # episodes that ended before step t
    n = int(episode[rollout.alive].max()) + 1
    sums = x.new_zeros(x.shape[0], n + 1, x.shape[2])
    return sums.scatter_add(1, torch.where(rollout.alive, episode, n), x)[:, :n]


def rows_of(
    lifetime: Lifetime,
    *,
    split: str,
    iteration: int,
    seed: int,
    first_task: int,
    expected: Sequence[Sequence[float | None]] | None,
    optimal: Sequence[float] | None,
) -> list[dict[str, Any]]:
    """The adaptation rows of one lifetime in each task.

    Row k of a task is its mean return over slots after k adaptations: after k rollouts, or, for an agent that
    remembers, after k episodes. `episodes_seen` and `env_steps_seen` count what that agent had learned from: all slots
    of earlier rollouts, and its own slot's earlier episodes.

    Args:
        lifetime: of M tasks.
        split, iteration, seed: what is to stand in the rows.
        first_task: number of the first of the tasks.
        expected: expected return of each agent in each task, `[k][task]`, if known.
        optimal: of each task, if known.
    """
    steps_before = torch.zeros(len(lifetime.rollouts[0].reward))
    episodes_before = step = 0
    rows: list[dict[str, Any]] = []
    for rollout in lifetime.rollouts:
        returns = episode_sums(rollout.reward, rollout).mean(-1)
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
                }
                for task, value in enumerate(values)
            ]
            step += 1
        steps_before = steps_before + steps.sum((1, 2)).cpu()
        episodes_before += steps.shape[1] * steps.shape[2]
    return rows


def lifetime_returns(lifetime: Lifetime, *, remembers: bool) -> list[float]:
    """The sum of rewards over each task's lifetime; the slots of an agent that remembers are lifetimes of their own."""
    totals = torch.stack([rollout.reward.sum((1, 2)).double() for rollout in lifetime.rollouts]).sum(0)
    slots = lifetime.rollouts[0].reward.shape[2] if remembers else 1
    return (totals / slots).tolist()


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
) -> Iterator[Evaluation]:
    """Lifetimes on held-out tasks, a part of the tasks at a time; tasks come from streams named after `split`.

    The tasks and all randomness depend on the seed and `split` alone, so evaluations of one run are comparable with one
    another, and whether one takes place changes nothing else.
    """
    tasks = family.sample(num_tasks, "meta_test", streams(f"{split}/tasks"))
    tasks_at_once = max(1, SLOTS_AT_ONCE // episodes_per_task)
    for part, first in enumerate(range(0, num_tasks, tasks_at_once)):
        task = tasks.select(slice(first, first + tasks_at_once))
        env = TaskVectorEnv(family, task, episodes_per_task=episodes_per_task, generator=streams(f"{split}/env", part))
        with torch.no_grad():
            lifetime = live(algo, env, streams(f"{split}/actions", part), adaptation_steps=adaptation_steps)
            expected = expected_returns(algo, lifetime.agents, family, task)
        yield Evaluation(
            rows=rows_of(
                lifetime,
                split=split,
                iteration=iteration,
                seed=streams.seed,
                first_task=first,
                expected=expected,
                optimal=optimal_returns(family, task),
            ),
            lifetime_returns=lifetime_returns(lifetime, remembers=algo.remembers),
            task_hashes=task.hashes(),
            env_steps=sum(rollout.env_steps for rollout in lifetime.rollouts),
        )


def task_counts(hashes: Sequence[str], family: TaskFamily) -> dict[str, int | None]:
    """How many held-out tasks there are, and of them distinct ones and new ones.

    Args:
        hashes: fingerprint of each task.
        family: where they come from.

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
        task_hashes=[mark for part in parts for mark in part.task_hashes],
        env_steps=sum(part.env_steps for part in parts),
    )
