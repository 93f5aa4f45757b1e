"""Exact expected returns in tabular families, computed from the MDP instead of sampled.

A sampled adaptation curve has sampling noise; these returns have none and use no randomness.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import one_hot

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import TaskFamily
from metarl_run.maths.distributions import Categorical, empty_actions
from metarl_run.maths.planning import optimal_value, policy_value
from metarl_run.types import AgentState, Percept

ENTRIES = 2**25
"""Probabilities P(s′ | s, a) in memory at a time; a quarter of a gigabyte."""

FEW = 2**22
"""Probabilities in all for which equal tasks may be planned in again and again."""


def optimal_returns(family: TaskFamily, task: Any) -> list[float] | None:
    """The expected return of the best policy in each of M tasks; None if the family is not tabular."""
    if "tabular" not in family.provides:
        return None
    returns: list[float] = []
    task, places = _distinct(task)
    for part in _parts(task):
        value = optimal_value(part.transition, part.mean_reward, horizon=family.horizon)
        returns += (part.start.double() * value).sum(-1).tolist()
    return [returns[place] for place in places]


def reference_returns(family: TaskFamily, task: Any) -> dict[str, list[float]]:
    """Expected returns of an episode of two simple policies that know the task, in each of M tasks, by name.

    `constant_action` is the best single action, whatever the state: an agent that earns no more has not learned to read
    the state. `myopic` takes the action with the largest mean reward in every state. Empty if the family is not
    tabular.
    """
    if "tabular" not in family.provides:
        return {}
    found: dict[str, list[float]] = {"constant_action": [], "myopic": []}
    task, places = _distinct(task)
    for part in _parts(task):
        P, r, start = part.transition, part.mean_reward, part.start.double()
        A = r.shape[-1]
        every = torch.eye(A, device=r.device)[:, None, None]  # one policy for each action: [A, 1, 1, A]
        of_action = policy_value(P, r, every.expand(A, *r.shape), horizon=family.horizon)
        myopic = policy_value(P, r, one_hot(r.argmax(-1), A), horizon=family.horizon)
        found["constant_action"] += (start * of_action).sum(-1).amax(0).tolist()
        found["myopic"] += (start * myopic).sum(-1).tolist()
    return {name: [of_each[place] for place in places] for name, of_each in found.items()}


def expected_returns(
    algo: MetaAlgorithm, agents: Sequence[AgentState], family: TaskFamily, task: Any
) -> list[list[float | None]] | None:
    """The expected return of an episode of each agent, `[k][task]`.

        J(φₖ) = Σₛ start(s) V₀(s)        with V₀ of `policy_value` for π(· | s) = act(φₖ, s)

    Args:
        algo: its `act` is the policy.
        agents: each in all M tasks.
        family: of the tasks.
        task: the M tasks.

    Returns:
        None if there is no table of probabilities: in a family that is not tabular, and for agents that act on a
        memory, since they depend on more than the state. A single None where a return is not finite.
    """
    if "tabular" not in family.provides or algo.remembers:
        return None
    if algo.acts_on_memory and any(agent.memory for agent in agents):
        return None
    everywhere = every_state(family, task)
    policies = []
    for agent in agents:
        distribution, _ = algo.act(agent, everywhere)
        assert isinstance(distribution, Categorical)  # tabular families have finitely many actions
        policies.append(distribution.logits.double().softmax(-1))
    policy, found, first = torch.stack(policies), list[torch.Tensor](), 0
    for part in _parts(task):
        some = policy[:, first : first + part.num_tasks]
        value = policy_value(part.transition, part.mean_reward, some, horizon=family.horizon)
        found.append((part.start.double() * value).sum(-1))
        first += part.num_tasks
    returns = torch.cat(found, -1)
    return [[x if math.isfinite(x) else None for x in of_agent] for of_agent in returns.tolist()]


def _distinct(task: Any) -> tuple[Any, list[int]]:
    """Different tasks, and the place of each task among them; all as they are if they are small."""
    M, S, A = task.mean_reward.shape
    if M * S * A * S <= FEW:
        return task, list(range(M))
    hashes = task.hashes()
    first = {name: i for i, name in reversed([*enumerate(hashes)])}
    order = {name: place for place, name in enumerate(first)}
    return task.select(torch.tensor([*first.values()], device=task.mean_reward.device)), [order[x] for x in hashes]


def _parts(task: Any) -> Iterator[Any]:
    """The tasks, as many at a time as have `ENTRIES` entries of their transitions in all: mostly all at once."""
    M, S, A = task.mean_reward.shape
    at_once = max(ENTRIES // (S * A * S), 1)
    yield from [task] if at_once >= M else (task.select(slice(i, i + at_once)) for i in range(0, M, at_once))


def every_state(family: TaskFamily, task: Any) -> Percept:
    """The percept of agents in M tasks at the first step if environment s is in state s."""
    M, S, _ = task.mean_reward.shape
    state = torch.eye(S, device=task.mean_reward.device).expand(M, S, S)
    nothing = state.new_zeros(M, S)
    last_action = empty_actions(family.action_space, (M, S), state.device)
    return Percept(state, last_action, nothing, torch.ones_like(nothing, dtype=torch.bool))
