"""Records shared by several rooms, and the names of their axes.

Axes, always in this order:

    M tasks · T time steps · B episodes per task · K adaptation steps · D observation features · A actions
    S states · H memory

The B episodes of a task run in parallel, each in an environment (env) of its own, which may go on to further episodes.

Code for one task reads `[T, B, …]`; where a stack of tasks passes through it, the leading `M` is carried along.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.errors import located
from metarl_run.maths.distributions import Distribution, each

Params = dict[str, Tensor]
"""Named parameters of one agent, or of M agents stacked along a leading task axis."""

Memory = dict[str, Tensor]
"""State that an agent carries from step to step, each tensor `[M, …]`; `[M, B, …]` if environments differ, with B = 1
before any experience."""


class AgentState(NamedTuple):
    """An agent in each of M tasks: parameters φₖ, which gradients adapt, and memory hₖ, which experience updates."""

    params: Params
    memory: Memory

    def tasks(self, index: slice) -> "AgentState":
        """The agents of some tasks."""
        return AgentState(*({name: x[index] for name, x in record.items()} for record in self))


class Percept(NamedTuple):
    """Inputs of an agent's decision: sₜ, aₜ₋₁, rₜ₋₁ and whether step t − 1 ended an episode.

    At the first step of a lifetime: action 0, reward 0, ended true (Duan et al. 2016, arXiv:1611.02779).
    The last action is `[M, B]` if actions are discrete, `[M, B, d]` if one is d numbers.
    """

    observation: Float[Tensor, "M B D"]
    last_action: Tensor
    last_reward: Float[Tensor, "M B"]
    last_ended: Bool[Tensor, "M B"]


class Rollout(NamedTuple):
    """Experience of M tasks × B environments in T steps.

    An environment runs one episode, or several in succession; after the last it is not alive, and entries are padding.

    Attributes:
        observation: row t is what step t acted on, row t + 1 what it led to (after a reset: the next episode's first).
        action: integers `[…, T, B]` for a discrete action space; `[…, T, B, d]` where an action is d numbers: as the
            policy chose them, counted from 0 and not yet clipped to the action space.
        reward: in the task's own units; 0 where not alive.
        terminated: the MDP ended at step t.
        truncated: the episode limit ended it at step t; the return would go on.
        alive: the step is no padding.
        memory: the agent's memory after its last step.
        outcomes: of every step, by name, see `metarl_run.env.base.TaskFamily`; anything where not alive.
    """

    observation: Float[Tensor, "*M T1 B D"]
    action: Tensor
    reward: Float[Tensor, "*M T B"]
    terminated: Bool[Tensor, "*M T B"]
    truncated: Bool[Tensor, "*M T B"]
    alive: Bool[Tensor, "*M T B"]
    memory: Memory
    outcomes: Mapping[str, Float[Tensor, "*M T B"]] = {}

    @property
    def of_steps(self) -> tuple[Tensor, ...]:
        """Observation, action, reward, terminated, truncated, alive."""
        return self[:6]

    @property
    def ended(self) -> Bool[Tensor, "*M T B"]:
        """Step t was the last of its episode."""
        return self.terminated | self.truncated

    @property
    def last(self) -> Bool[Tensor, "*M T B"]:
        """Step t was the last of its environment: no other episode follows."""
        goes_on = torch.zeros_like(self.alive)
        goes_on[..., :-1, :] = self.alive[..., 1:, :]
        return self.alive & ~goes_on

    def percepts(self) -> Percept:
        """The percept before each step, `[…, T, B, …]`."""

        def shifted(x: Tensor, first: float) -> Tensor:
            time = -2 if x.dim() == self.reward.dim() else -3
            begin = torch.full_like(x.narrow(time, 0, 1), first)
            return torch.cat([begin, x.narrow(time, 0, x.shape[time] - 1)], time)

        observation = self.observation[..., :-1, :, :]
        return Percept(observation, shifted(self.action, 0), shifted(self.reward, 0), shifted(self.ended, True))

    def merged(self) -> "Rollout":
        """The environments of all tasks as those of one: `[M, T, B, …]` → `[T, M·B, …]`; without the memory."""
        return self._each(merged)

    def tasks(self, index: slice) -> "Rollout":
        """The experience of some tasks."""
        return self._each(lambda x: x[index], {name: x[index] for name, x in self.memory.items()})

    def envs(self, index: slice) -> "Rollout":
        """The experience of some environments of one task: `[T, B, …]` → `[T, b, …]`; without the memory."""
        return self._each(lambda x: x[:, index].contiguous())

    def first_envs(self, num_envs: int) -> "Rollout":
        """The experience of the first `num_envs` environments of every task."""
        return self._each(lambda x: x[:, :, :num_envs], self.memory)

    def _each(self, function: Callable[[Tensor], Tensor], memory: Memory | None = None) -> "Rollout":
        """The tensors of all steps, each changed by `function`, with this memory."""
        outcomes = {name: function(x) for name, x in self.outcomes.items()}
        return Rollout._make([*map(function, self.of_steps), memory or {}, outcomes])

    @property
    def env_steps(self) -> int:
        """Environment steps over all tasks, without padding."""
        return int(self.alive.sum())


@dataclass(frozen=True)
class Lifetime:
    """A lifetime in each of M tasks: agent k collects rollout k, and adapting to it makes agent k + 1.

    Attributes:
        agents: 0, …, K; with the graph of their adaptation, if all tasks are adapted at once.
        rollouts: 0, …, K.
        policy: the distribution of every action of the last rollout, `[M, T, B]`, if the algorithm keeps it.
        tasks_at_once: number of tasks that a meta-update processes at a time, to bound memory; None for all.
    """

    agents: Sequence[AgentState]
    rollouts: Sequence[Rollout]
    tasks_at_once: int | None = None
    policy: Distribution | None = None

    def merged(self) -> tuple[Rollout, Distribution]:
        """The rollout and the policy that the algorithm kept, all tasks as one: `[T, M·B, …]`."""
        assert self.policy is not None
        return self.rollouts[0].merged(), each(self.policy, merged)

    def parts(self) -> "Iterator[Lifetime]":
        """The lifetimes of `tasks_at_once` tasks at a time."""
        for index in chunks(len(self.rollouts[0].reward), self.tasks_at_once):
            agents = [agent.tasks(index) for agent in self.agents]
            yield Lifetime(agents, [rollout.tasks(index) for rollout in self.rollouts], self.tasks_at_once)


Gathered = Callable[[Sequence[Callable[[], Any]]], list[Any]]
"""Functions of the parts here → results of all parts in their order, wherever these are; each a tree of tensors."""


@dataclass(frozen=True)
class Divided:
    """Lifetimes of a meta-batch in parts that live by themselves, some of them here, others perhaps elsewhere.

    Attributes:
        here: lifetimes of the parts here, in the order of tasks.
        first_tasks: number in the meta-batch of the first task of each of these.
        num_tasks: M, of all parts.
        gathered: computes something for every part.
    """

    here: Sequence[Lifetime]
    first_tasks: Sequence[int]
    num_tasks: int
    gathered: Gathered

    def of_parts(self, function: Callable[[int], Any]) -> list[Any]:
        """`function(i)` of each part here, i = 0, 1, …, and of all others, in the order of tasks."""

        def called(i: int) -> Any:
            with located(first_task=self.first_tasks[i]):
                return function(i)

        return self.gathered([partial(called, i) for i in range(len(self.here))])


def merged(x: Tensor) -> Tensor:
    """`[M, T, B, …]` → `[T, M·B, …]`."""
    return x.transpose(0, 1).flatten(1, 2)


def chunks(num_tasks: int, tasks_at_once: int | None) -> list[slice]:
    """All tasks in order, `tasks_at_once` at a time, None for all; the last slice may be shorter."""
    size = tasks_at_once or num_tasks
    return [slice(first, first + size) for first in range(0, num_tasks, size)]


def parts_of(num_tasks: int, parts: int) -> list[slice]:
    """All tasks in order, in so many parts, or one for each task if they are fewer; sizes differ by one at most."""
    number = min(parts, num_tasks)
    return [slice(num_tasks * p // number, num_tasks * (p + 1) // number) for p in range(number)]
