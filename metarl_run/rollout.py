"""Collection of experience: the only place where actions are sampled."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl_run.env.base import TaskFamily
from metarl_run.env.check import require_finite
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.maths.distributions import Distribution, empty_actions, sampling_noise
from metarl_run.types import AgentState, Memory, Percept, Rollout

Act = Callable[[AgentState, Percept], tuple[Distribution, Memory]]
Draw = Callable[[AgentState, Percept, torch.Generator], AgentState]


@runtime_checkable
class Collect(Protocol):
    """A function that collects experience: `collect` or an equivalent."""

    def __call__(
        self,
        env: TaskVectorEnv,
        act: Act,
        agent: AgentState,
        generator: torch.Generator,
        *,
        draw: Draw | None = None,
        episodes: int = 1,
        chosen: list[Distribution] | None = None,
    ) -> Rollout: ...


STEPS_BETWEEN_CHECKS = 8
"""Checking whether any environment is alive costs about as much as one operation on all of them."""


def collect(
    env: TaskVectorEnv,
    act: Act,
    agent: AgentState,
    generator: torch.Generator,
    *,
    draw: Draw | None = None,
    episodes: int = 1,
    chosen: list[Distribution] | None = None,
) -> Rollout:
    """Run `episodes` consecutive episodes of the agent in every environment of `env`.

    Args:
        env: M tasks × B environments, which are all reset.
        act: the agent's behaviour; its memory is carried through all episodes.
        agent: parameters and memory before the first step.
        generator: randomness of the actions, and of `draw`.
        draw: draws of the agent's own before each step, such as a hypothesis.
        episodes: per environment, one after another.
        chosen: collects the distribution of each step's actions, `[M, B]`.

    Returns:
        The rollout, cut after the last step of any environment; no gradient flows through it.

    Raises:
        NumericalError: if an agent failed after an observation or a reward that is not finite.
    """
    M, B, T = env.num_tasks, env.episodes_per_task, episodes * env.horizon
    space, device = env.single_action_space, generator.device
    # Buffers are made outside inference mode, so that autograd can use them afterwards.
    observation = torch.zeros(M, T + 1, B, *env.family.observation_space.shape, device=device)
    action = empty_actions(space, (M, T, B), device)
    reward = torch.zeros(M, T, B, device=device)
    terminated, truncated = (torch.zeros(M, T, B, dtype=torch.bool, device=device) for _ in range(2))
    alive = torch.ones(M, T, B, dtype=torch.bool, device=device)

    outcomes = {name: torch.zeros(M, T, B, device=device) for name in env.family.outcomes}

    # Views of every time slice, built once.
    observations, actions, rewards = observation.unbind(1), action.unbind(1), reward.unbind(1)
    terminateds, truncateds, alives = terminated.unbind(1), truncated.unbind(1), alive.unbind(1)
    noise: tuple[Tensor, ...] = ()
    last = Percept(observations[0], actions[0], rewards[0], torch.ones(M, B, dtype=torch.bool, device=device))
    so_far = Rollout(observation, action, reward, terminated, truncated, alive, {})
    normalisation = env.family.normalisation
    with _blaming_numbers(env.family, so_far), torch.inference_mode():
        observations[0].copy_(env.start(episodes))
        if normalisation is not None:
            normalisation.observation_(observations[0])
        for t in range(T):
            if t % STEPS_BETWEEN_CHECKS == 0 and t and not env.alive.any():
                alive[:, t:] = False
                break
            if t % env.horizon == 0:
                noise = sampling_noise(space, (env.horizon, M, B), generator).unbind(0)
            if draw is not None:
                agent = draw(agent, last, generator)
            distribution, memory = act(agent, last)
            if chosen is not None:
                chosen.append(distribution)
            actions[t].copy_(distribution.sample(noise[t % env.horizon]))
            step = env.advance(actions[t])
            observations[t + 1].copy_(step.observation)
            rewards[t].copy_(step.reward)
            if normalisation is not None:
                normalisation.observation_(observations[t + 1])
                normalisation.reward_(rewards[t])
            terminateds[t].copy_(step.terminated)
            if step.truncated is not None:
                truncateds[t].copy_(step.truncated)
            if step.alive is not None:
                alives[t].copy_(step.alive)
            for name, x in step.outcomes.items():
                outcomes[name][:, t].copy_(x)
            last = Percept(observations[t + 1], actions[t], rewards[t], step.ended)
            agent = agent._replace(memory=memory)
    taken = int(alive.any(-1).any(0).sum())
    if chosen is not None:
        del chosen[taken:]
    return Rollout(
        observation[:, : taken + 1],
        action[:, :taken],
        reward[:, :taken],
        terminated[:, :taken],
        truncated[:, :taken],
        alive[:, :taken],
        {name: tensor.clone() for name, tensor in agent.memory.items()},
        {name: x[:, :taken] for name, x in outcomes.items()},
    )


@contextlib.contextmanager
def _blaming_numbers(family: TaskFamily, so_far: Rollout) -> Iterator[None]:
    """Check experience if an agent fails: a number that is not finite is the cause, not what the agent made of it."""
    try:
        yield
    except Exception:
        require_finite(family, so_far)
        raise
