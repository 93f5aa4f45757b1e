"""The only inner loop: rollout, adaptation, rollout, adaptation, … in all tasks at once."""

from typing import Any

import torch

from metarl_run.algo.base import MetaAlgorithm, adapt_in_parts
from metarl_run.env.check import require_finite
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import NumericalError, located
from metarl_run.maths.distributions import Distribution, stacked
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.rollout import Collect, collect
from metarl_run.types import AgentState, Lifetime, Rollout

LOWER_INNER_LR = "lower algo.inner_lr"
"""Next step where a gradient step in a task led to numbers that are not finite."""


def live(
    algo: MetaAlgorithm,
    env: TaskVectorEnv,
    generator: torch.Generator,
    *,
    adaptation_steps: int,
    agents: AgentState | None = None,
    tasks_at_once: int | None = None,
    collect: Collect = collect,
) -> Lifetime:
    """Run one lifetime in each task of `env`.

        agent₀ = begin(task),   rolloutₖ = collect(agentₖ),   agentₖ₊₁ = adapt(agentₖ, rolloutₖ),   k in [0, K]

    The last rollout measures the agent after K adaptations; nothing adapts to it here. An agent that remembers adapts
    within a rollout, so its K + 1 episodes are one rollout.

    Args:
        algo: the algorithm: agents start, act and adapt by it.
        env: M tasks × B environments.
        generator: randomness of the actions.
        adaptation_steps: K ≥ 0.
        agents: agents at the start; None for agent₀.
        tasks_at_once: number of tasks that adapt at a time, without a graph; None for all. Rollouts always cover all
            tasks: they take little memory, and their noise then depends on the tasks alone.
        collect: collects the rollouts.

    Raises:
        NumericalError: if an observation, a reward, an inner loss or gradient or an adapted parameter is not finite.
    """
    family, gather = env.family, collect

    def collected(agent: AgentState, **more: Any) -> Rollout:
        rollout = gather(env, algo.act, agent, generator, draw=algo.draw, **more)
        require_finite(family, rollout)
        return rollout

    stages = [algo.begin(env.task) if agents is None else agents]
    if algo.remembers:
        chosen: list[Distribution] | None = [] if algo.keeps_policy else None
        episodes = adaptation_steps + 1
        rollout = collected(stages[0], episodes=episodes, chosen=chosen)
        return Lifetime(stages, [rollout], tasks_at_once, stacked(chosen, 1) if chosen else None)
    rollouts = [collected(stages[0])]
    for k in range(adaptation_steps):
        with located(f"adaptation step {k + 1}", hint=LOWER_INNER_LR if k else None):
            stages.append(adapt_in_parts(algo, stages[-1], rollouts[-1], tasks_at_once))
            require_finite_agents(stages[-1])
        rollouts.append(collected(stages[-1]))
    return Lifetime(stages, rollouts, tasks_at_once)


def require_finite_agents(agent: AgentState) -> None:
    """Raise NumericalError if an adapted parameter is not finite, naming it and its task.

    Args:
        agent: M of them.
    """
    if not agent.params or all_finite(*agent.params.values()):
        return
    for name, φ in agent.params.items():
        found = first_not_finite(φ)
        if found is not None:
            (task, *_), got = found
            where = f"adapted parameter {name}"
            raise NumericalError(where, f"must be finite, got {got}", LOWER_INNER_LR, task=task)
