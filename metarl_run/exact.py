"""Exact expected returns in tabular families, computed from the MDP instead of sampled.

A sampled adaptation curve has sampling noise; these returns have none and use no randomness.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import one_hot

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.base import TaskFamily
from metarl_run.maths.distributions import Categorical, empty_actions
from metarl_run.maths.planning import optimal_value, policy_value
from metarl_run.types import AgentState, Percept


def optimal_returns(family: TaskFamily, task: Any) -> list[float] | None:
    """The expected return of the best policy in each of M tasks; None if the family is not tabular."""
    if "tabular" not in family.provides:
        return None
    value = optimal_value(task.transition, task.mean_reward, horizon=family.horizon)
    returns: list[float] = (task.start.double() * value).sum(-1).tolist()
    return returns


def reference_returns(family: TaskFamily, task: Any) -> dict[str, list[float]]:
    """Expected returns of an episode of two simple policies that know the task, in each of M tasks, by name.

    `constant_action` is the best single action, whatever the state: an agent that earns no more has not learned to read
    the state. `myopic` takes the action with the largest mean reward in every state. Empty if the family is not
    tabular.
    """
    if "tabular" not in family.provides:
        return {}
    A = task.mean_reward.shape[-1]
    every = torch.eye(A, device=task.mean_reward.device)[:, None, None]  # one policy for each action: [A, 1, 1, A]
    of_action = policy_value(
        task.transition, task.mean_reward, every.expand(A, *task.mean_reward.shape), horizon=family.horizon
    )
    greedy = one_hot(task.mean_reward.argmax(-1), A)
    myopic = policy_value(task.transition, task.mean_reward, greedy, horizon=family.horizon)
    start = task.start.double()
    return {
        "constant_action": (start * of_action).sum(-1).amax(0).tolist(),
        "myopic": (start * myopic).sum(-1).tolist(),
    }


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
    value = policy_value(task.transition, task.mean_reward, torch.stack(policies), horizon=family.horizon)
    returns = (task.start.double() * value).sum(-1)
    return [[x if math.isfinite(x) else None for x in of_agent] for of_agent in returns.tolist()]


def every_state(family: TaskFamily, task: Any) -> Percept:
    """The percept of agents in M tasks at the first step if environment s is in state s."""
    M, S, _ = task.mean_reward.shape
    state = torch.eye(S, device=task.mean_reward.device).expand(M, S, S)
    nothing = state.new_zeros(M, S)
    last_action = empty_actions(family.action_space, (M, S), state.device)
    return Percept(state, last_action, nothing, torch.ones_like(nothing, dtype=torch.bool))
