"""Lifetimes of agents with memory as compiled programs.

The program is dense: an episode that ends continues from the next start state, and steps of an environment without an
episode left are padding. Start states are drawn in advance, as many for each environment as it has episodes.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.scan import Inputs, Noise, Scan, dynamics_noise
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.maths.distributions import Distribution, empty_actions, random_numbers
from metarl_run.types import AgentState, Memory, Percept, Rollout

STEPS = 50
"""Steps of one program, about: a divisor of a lifetime. After each it is seen whether any environment is alive."""


class CompiledLifetimes:
    """Rollouts of whole lifetimes, from the same random numbers as those of `collect` if all lifetimes end together.

    Args:
        algo: of the agents.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo: Any = algo
        self.scan: Scan | None = None
        self.shapes: dict[tuple[int, int], Mapping[str, torch.Size] | None] = {}

    def __call__(
        self,
        env: TaskVectorEnv,
        agent: AgentState,
        generator: torch.Generator,
        episodes: int,
        chosen: list[Distribution] | None,
    ) -> Rollout | None:
        """See `metarl_run.rollout.collect`; None if the memory changes its shape.

        The random numbers are those of `collect`, except where start states are drawn.
        """
        M, B, T = env.num_tasks, env.episodes_per_task, episodes * env.horizon
        steps = min((n for n in range(1, T + 1) if T % n == 0), key=lambda n: abs(math.log(n / STEPS)))
        if (M, B) not in self.shapes:
            nothing = torch.zeros(M, B, *env.family.observation_space.shape, device=generator.device)
            self.shapes[M, B] = self._shapes(agent, begin(env, nothing))
        shapes = self.shapes[M, B]
        if shapes is None:
            return None
        percept = begin(env, env.start(episodes))
        memory = {name: x.detach().expand(shapes[name]) for name, x in agent.memory.items()}
        age = torch.zeros(M, B, dtype=torch.int32, device=generator.device)
        carry = Carry(torch.ones_like(percept.last_ended), age + episodes, age, percept, tuple(env.state), memory)
        chunks = _noise(env, generator, T, steps)
        if self.scan is None:
            self.scan = Scan(Step(self.algo, env))
        constants = {name: θ.detach() for name, θ in self.algo.meta_params.items()}
        first = percept.observation
        last, rows = self.scan(env, first, constants, starts_of(env, episodes), carry, chunks, shared=True)
        return rollout_of(rows, last.memory, chosen)

    def _shapes(self, agent: AgentState, percept: Percept) -> Mapping[str, torch.Size] | None:
        """Shapes of the memory from the first step on; None if they go on changing."""
        _, once = self.algo.act(agent, percept)
        _, twice = self.algo.act(agent._replace(memory=once), percept)
        shapes = {name: x.shape for name, x in once.items()}
        return shapes if shapes == {name: x.shape for name, x in twice.items()} else None


def _noise(env: TaskVectorEnv, generator: torch.Generator, T: int, steps: int) -> Iterator[Noise]:
    """Noise of T steps, so many at a time, drawn as `collect` draws it: for an episode's actions at once."""
    shape = (env.horizon, env.num_tasks, env.episodes_per_task)
    drawn = list[Tensor]()
    for _ in range(0, T, steps):
        while len(drawn) < steps:
            drawn.extend(random_numbers(env.single_action_space, shape, generator))
        yield Noise(torch.stack(drawn[:steps]), dynamics_noise(env, steps, steps))
        del drawn[:steps]


def starts_of(env: TaskVectorEnv, episodes: int) -> list[Tensor]:
    """Start states of so many episodes, `[M, B, episodes, …]`, the present ones first; one if all are the same."""
    family, states = env.family, [tuple(x.clone() for x in env.state)]
    if not family.fixed_starts:
        states += [tuple(family.reset(env.task, env.episodes_per_task, env.generator)) for _ in range(1, episodes)]
    return [torch.stack(x, 2) for x in zip(*states, strict=True)]


def begin(env: TaskVectorEnv, observation: Tensor) -> Percept:
    """The first percepts of lifetimes."""
    M, B = env.num_tasks, env.episodes_per_task
    reward = torch.zeros(M, B, device=observation.device)
    action = empty_actions(env.single_action_space, (M, B), observation.device)
    return Percept(observation, action, reward, torch.ones_like(reward, dtype=torch.bool))


class Carry(NamedTuple):
    """State that one step hands to the next.

    Attributes:
        alive: the environment has an episode left.
        episodes_left: this one included.
        age: steps since the episode began.
        percept: what is acted on.
        state: the family's.
        memory: the agents'.
    """

    alive: Bool[Tensor, "M B"]
    episodes_left: Int[Tensor, "M B"]
    age: Int[Tensor, "M B"]
    percept: Percept
    state: tuple[Tensor, ...]
    memory: Memory


class Recorded(NamedTuple):
    """Record of a step, see `metarl_run.types.Rollout`, and the policy at it."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    alive: Tensor
    policy: Any


def rollout_of(rows: Recorded, memory: Memory, chosen: list[Distribution] | None) -> Rollout:
    """The record up to the last step that any environment took; the policy at each step goes to `chosen`."""
    taken = int(rows.alive.any(-1).any(0).sum())
    if chosen is not None:
        chosen.extend(
            type(rows.policy)(*step) for step in zip(*(x[:, :taken].unbind(1) for x in rows.policy), strict=True)
        )
    observation, *others = rows[:-1]
    return Rollout._make([observation[:, : taken + 1], *(x[:, :taken] for x in others), memory, {}])


class Step:
    """A step in every environment as a pure function.

    Args:
        algo: of the agents.
        env: of the tasks.
    """

    def __init__(self, algo: Any, env: TaskVectorEnv) -> None:
        self.algo, self.family, self.dynamics, self.horizon = algo, env.family, env.dynamics, env.horizon
        self.task_class, self.state_class = type(env.task), type(env.state)

    def __call__(self, inputs: Inputs, carry: Carry, noise: Noise) -> tuple[Carry, Recorded]:
        θ, values, starts = inputs
        alive, episodes_left, age, percept, carried, memory = carry
        task, state = self.task_class.restored(values), self.state_class(*(x.clone() for x in carried))
        policy, after = self.algo.act_by(θ, AgentState({}, memory), percept)
        action = policy.sample(noise.of_action)
        state, reward, terminated = self.dynamics(task, state, action, noise.next)
        age = age + 1
        truncated = (age >= self.horizon) & ~terminated
        ended = terminated | truncated
        final = self.family.observe(task, state)
        episodes_left, age = episodes_left - ended.int(), age * ~ended
        put_back(state, ended, [start_of(x, episodes_left) for x in starts])
        goes_on = episodes_left > 0
        observation = torch.where(goes_on.unsqueeze(-1), self.family.observe(task, state), final)
        counted = (reward * alive, terminated & alive, truncated & alive)
        row = Recorded(observation, action, *counted, alive, policy)
        percept = Percept(observation, action, counted[0], ended & alive)
        memory = {name: after[name] for name in memory}
        return Carry(goes_on, episodes_left, age, percept, tuple(state), memory), row


def start_of(states: Tensor, episodes_left: Tensor) -> Tensor:
    """The state that the next episode of each environment starts from, `[M, B, …]`; any after the last one.

    Args:
        states: `[M, B, episodes, …]`, or one for all episodes.
        episodes_left: `[M, B]`, the next one included.
    """
    E = states.shape[2]
    if E == 1:
        return states[:, :, 0]
    number = (E - episodes_left).clamp(max=E - 1).long().view(*episodes_left.shape, *[1] * (states.dim() - 2))
    return states.gather(2, number.expand(*states.shape[:2], 1, *states.shape[3:])).squeeze(2)
