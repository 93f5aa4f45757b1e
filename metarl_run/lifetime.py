"""The only inner loop: rollout, adaptation, rollout, adaptation, … in all tasks at once."""

import torch

from metarl_run.algo.base import MetaAlgorithm, adapt_in_parts
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.distributions import Distribution, stacked
from metarl_run.rollout import Collect, collect
from metarl_run.types import AgentState, Lifetime


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
    """
    stages = [algo.begin(env.task) if agents is None else agents]
    if algo.remembers:
        chosen: list[Distribution] | None = [] if algo.keeps_policy else None
        episodes = adaptation_steps + 1
        rollout = collect(env, algo.act, stages[0], generator, draw=algo.draw, episodes=episodes, chosen=chosen)
        return Lifetime(stages, [rollout], tasks_at_once, stacked(chosen, 1) if chosen else None)
    rollouts = [collect(env, algo.act, stages[0], generator, draw=algo.draw)]
    for _ in range(adaptation_steps):
        stages.append(adapt_in_parts(algo, stages[-1], rollouts[-1], tasks_at_once))
        rollouts.append(collect(env, algo.act, stages[-1], generator, draw=algo.draw))
    return Lifetime(stages, rollouts, tasks_at_once)
