"""The only inner loop: rollout, adaptation, rollout, adaptation, … in every task at once."""

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
    """One lifetime in each task of `env`.

        agent₀ = begin(task),   rolloutₖ = collect(agentₖ),   agentₖ₊₁ = adapt(agentₖ, rolloutₖ),   k in [0, K]

    The last rollout shows what K adaptations made of the agent; nothing is learned from it here. An agent that
    remembers adapts within a rollout, so its K + 1 episodes are one.

    Args:
        algo: how agents start, act and adapt.
        env: M tasks × B episode slots.
        generator: randomness of the actions.
        adaptation_steps: K ≥ 0.
        agents: who begins in the tasks; None: agent₀.
        tasks_at_once: so many tasks adapt at a time, without a graph; None for all at once. Rollouts are of all tasks
            either way: they take little memory, and so the noise in them depends on the tasks alone.
        collect: how rollouts are made.
    """
    lived = [algo.begin(env.task) if agents is None else agents]
    if algo.remembers:
        chosen: list[Distribution] | None = [] if algo.keeps_policy else None
        episodes = adaptation_steps + 1
        rollout = collect(env, algo.act, lived[0], generator, draw=algo.draw, episodes=episodes, chosen=chosen)
        return Lifetime(lived, [rollout], tasks_at_once, stacked(chosen, 1) if chosen else None)
    rollouts = [collect(env, algo.act, lived[0], generator, draw=algo.draw)]
    for _ in range(adaptation_steps):
        lived.append(adapt_in_parts(algo, lived[-1], rollouts[-1], tasks_at_once))
        rollouts.append(collect(env, algo.act, lived[-1], generator, draw=algo.draw))
    return Lifetime(lived, rollouts, tasks_at_once)
