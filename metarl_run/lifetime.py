"""The only inner loop: rollout, adaptation, rollout, adaptation, … in every task at once."""

import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.rollout import collect
from metarl_run.types import Lifetime


def live(algo: MetaAlgorithm, env: TaskVectorEnv, generator: torch.Generator, *, adaptation_steps: int) -> Lifetime:
    """One lifetime in each task of `env`.

        agent₀ = begin(task),   rolloutₖ = collect(agentₖ),   agentₖ₊₁ = adapt(agentₖ, rolloutₖ),   k in [0, K]

    The last rollout shows what K adaptations made of the agent; nothing is learned from it here. An agent that
    remembers adapts within a rollout, so its K + 1 episodes are one.

    Args:
        algo: how agents start, act and adapt.
        env: M tasks × B episode slots.
        generator: randomness of the actions.
        adaptation_steps: K ≥ 0.
    """
    agents = [algo.begin(env.task)]
    if algo.remembers:
        return Lifetime(agents, [collect(env, algo.act, agents[0], generator, episodes=adaptation_steps + 1)])
    rollouts = [collect(env, algo.act, agents[0], generator)]
    for _ in range(adaptation_steps):
        agents.append(algo.adapt(agents[-1], rollouts[-1]))
        rollouts.append(collect(env, algo.act, agents[-1], generator))
    return Lifetime(agents, rollouts)
