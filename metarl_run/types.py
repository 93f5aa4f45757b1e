"""The records that cross rooms, and the names of their axes.

Axes, always in this order:

    M tasks · T time steps · B episode slots per task · K adaptation steps · D observation features · A actions
    S states · H memory

Code for one task reads `[T, B, …]`; where a stack of tasks passes through it, the leading `M` is carried along.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.maths.distributions import Distribution, each

Params = dict[str, Tensor]
"""Named parameters of one agent, or of M agents stacked along a leading task axis."""

Memory = dict[str, Tensor]
"""What an agent carries from step to step, each tensor `[M, …]`; what differs between slots is `[M, B, …]`, with B = 1
before any experience."""


class AgentState(NamedTuple):
    """An agent in each of M tasks: what a gradient adapts (φₖ) and what experience alone adapts (hₖ)."""

    params: Params
    memory: Memory

    def tasks(self, index: slice) -> "AgentState":
        """The agents of some tasks."""
        return AgentState(*({name: x[index] for name, x in record.items()} for record in self))


class Percept(NamedTuple):
    """What an agent is told before it acts: sₜ, aₜ₋₁, rₜ₋₁ and whether step t − 1 ended an episode.

    At the first step of a lifetime: action 0, reward 0, ended true (Duan et al. 2016, arXiv:1611.02779).
    The last action is `[M, B]` if actions are discrete, `[M, B, d]` if one is d numbers.
    """

    observation: Float[Tensor, "M B D"]
    last_action: Tensor
    last_reward: Float[Tensor, "M B"]
    last_ended: Bool[Tensor, "M B"]


class Rollout(NamedTuple):
    """What M tasks × B episode slots lived through in T steps.

    A slot lives one episode, or several one after another; then it is no longer alive and its entries are padding.

    Attributes:
        observation: row t is what step t acted on, row t + 1 what it led to (after a reset: the next episode's first).
        action: integers `[…, T, B]` for a discrete action space; `[…, T, B, d]` where an action is d numbers: as the
            policy chose them, counted from 0 and not yet clipped to the action space.
        reward: in the task's own units; 0 where not alive.
        terminated: the MDP ended at step t.
        truncated: the episode limit ended it at step t; the return goes on beyond what was seen.
        alive: the step was really taken.
        memory: the agent's memory after its last step.
    """

    observation: Float[Tensor, "*M T1 B D"]
    action: Tensor
    reward: Float[Tensor, "*M T B"]
    terminated: Bool[Tensor, "*M T B"]
    truncated: Bool[Tensor, "*M T B"]
    alive: Bool[Tensor, "*M T B"]
    memory: Memory

    @property
    def ended(self) -> Bool[Tensor, "*M T B"]:
        """Step t was the last of its episode."""
        return self.terminated | self.truncated

    @property
    def last(self) -> Bool[Tensor, "*M T B"]:
        """Step t was the last that its slot took: no other episode follows."""
        goes_on = torch.zeros_like(self.alive)
        goes_on[..., :-1, :] = self.alive[..., 1:, :]
        return self.alive & ~goes_on

    def percepts(self) -> Percept:
        """What the agent was told before each of its steps, `[…, T, B, …]`; see `Percept`."""

        def shifted(x: Tensor, first: float) -> Tensor:
            time = -2 if x.dim() == self.reward.dim() else -3
            begin = torch.full_like(x.narrow(time, 0, 1), first)
            return torch.cat([begin, x.narrow(time, 0, x.shape[time] - 1)], time)

        observation = self.observation[..., :-1, :, :]
        return Percept(observation, shifted(self.action, 0), shifted(self.reward, 0), shifted(self.ended, True))

    def merged(self) -> "Rollout":
        """All slots of all tasks as those of one: `[M, T, B, …]` → `[T, M·B, …]`; without the memory."""
        return Rollout._make([*map(merged, self[:-1]), {}])

    def tasks(self, index: slice) -> "Rollout":
        """What the agents of some tasks lived through."""
        return Rollout._make([*(x[index] for x in self[:-1]), {name: x[index] for name, x in self.memory.items()}])

    def envs(self, index: slice) -> "Rollout":
        """What some slots of one task lived through: `[T, B, …]` → `[T, b, …]`; without the memory."""
        return Rollout._make([*(x[:, index].contiguous() for x in self[:-1]), {}])

    def first_envs(self, num_slots: int) -> "Rollout":
        """What the first `num_slots` slots of every task lived through."""
        parts = {name: getattr(self, name)[:, :, :num_slots] for name in self._fields if name != "memory"}
        return self._replace(**parts)

    @property
    def env_steps(self) -> int:
        """Environment steps really taken, over all tasks."""
        return int(self.alive.sum())


@dataclass(frozen=True)
class Lifetime:
    """One life in each of M tasks: agent k collected rollout k, and adapting to it made agent k + 1.

    Attributes:
        agents: 0, …, K; with the graph of their adaptation, if all tasks are learned from at once.
        rollouts: 0, …, K.
        policy: what every action of the last rollout was chosen from, `[M, T, B]`, if the algorithm keeps it.
        tasks_at_once: so many tasks are learned from at a time, to bound memory; None for all.
    """

    agents: Sequence[AgentState]
    rollouts: Sequence[Rollout]
    tasks_at_once: int | None = None
    policy: Distribution | None = None

    def merged(self) -> tuple[Rollout, Distribution]:
        """The rollout of an algorithm that keeps its policy, and that, of all tasks as one: `[T, M·B, …]`."""
        assert self.policy is not None
        return self.rollouts[0].merged(), each(self.policy, merged)

    def parts(self) -> "Iterator[Lifetime]":
        """The lives in `tasks_at_once` tasks, in the next as many, …"""
        for index in chunks(len(self.rollouts[0].reward), self.tasks_at_once):
            agents = [agent.tasks(index) for agent in self.agents]
            yield Lifetime(agents, [rollout.tasks(index) for rollout in self.rollouts], self.tasks_at_once)


def merged(x: Tensor) -> Tensor:
    """`[M, T, B, …]` → `[T, M·B, …]`."""
    return x.transpose(0, 1).flatten(1, 2)


def chunks(num_tasks: int, tasks_at_once: int | None) -> list[slice]:
    """All tasks in their order, `tasks_at_once` at a time, None for all; the last may be fewer."""
    size = tasks_at_once or num_tasks
    return [slice(first, first + size) for first in range(0, num_tasks, size)]
