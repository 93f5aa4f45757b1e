"""Lifetimes of agents with memory as compiled programs: for families with fixed start states.

The program is dense: an episode that ends is put back to its start state, and steps of an environment without an
episode left are padding.
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
from metarl_run.maths.distributions import Distribution, empty_actions, sampling_noise
from metarl_run.types import AgentState, Memory, Percept, Rollout

STEPS = 50
"""Steps of one program, about: a divisor of a lifetime. After each it is seen whether any environment is alive."""


class CompiledLifetimes:
    """Rollouts of whole lifetimes, from the same random numbers as those of `collect` if all lifetimes end together.

    Args:
        algo: of the agents.
        threads: CPU threads of the programs.
    """

    def __init__(self, algo: MetaAlgorithm, *, threads: int = 1) -> None:
        self.algo: Any = algo
        self.threads = threads
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
        """See `metarl_run.rollout.collect`; None if the memory changes its shape."""
        M, B, T = env.num_tasks, env.episodes_per_task, episodes * env.horizon
        steps = min((n for n in range(1, T + 1) if T % n == 0), key=lambda n: abs(math.log(n / STEPS)))
        percept = first(env, episodes)
        if (M, B) not in self.shapes:
            self.shapes[M, B] = self._shapes(agent, percept)
        shapes = self.shapes[M, B]
        if shapes is None:
            return None
        memory = {name: x.detach().expand(shapes[name]) for name, x in agent.memory.items()}
        age = torch.zeros(M, B, dtype=torch.int32, device=generator.device)
        carry = Carry(torch.ones_like(percept.last_ended), age + episodes, age, percept, tuple(env.state), memory)
        chunks = self._noise(env, generator, T, steps)
        if self.scan is None:
            self.scan = Scan(Step(self.algo, env), threads=self.threads)
        constants = {name: θ.detach() for name, θ in self.algo.meta_params.items()}
        last, rows = self.scan(env, constants, carry, chunks, shared=True)
        return rollout_of(percept, rows, last.memory, chosen)

    def _noise(self, env: TaskVectorEnv, generator: torch.Generator, T: int, steps: int) -> Iterator[Noise]:
        """Noise of T steps, so many at a time, drawn as `collect` draws it: for an episode's actions at once."""
        shape = (env.horizon, env.num_tasks, env.episodes_per_task)
        drawn = list[Tensor]()
        for _ in range(0, T, steps):
            while len(drawn) < steps:
                drawn.extend(sampling_noise(env.single_action_space, shape, generator))
            yield Noise(torch.stack(drawn[:steps]), dynamics_noise(env, steps, steps))
            del drawn[:steps]

    def _shapes(self, agent: AgentState, percept: Percept) -> Mapping[str, torch.Size] | None:
        """Shapes of the memory from the first step on; None if they go on changing."""
        _, once = self.algo.act(agent, percept)
        _, twice = self.algo.act(agent._replace(memory=once), percept)
        shapes = {name: x.shape for name, x in once.items()}
        return shapes if shapes == {name: x.shape for name, x in twice.items()} else None


def first(env: TaskVectorEnv, episodes: int) -> Percept:
    """Start the lifetimes; their first percepts."""
    observation = env.start(episodes)
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


def rollout_of(begin: Percept, rows: Recorded, memory: Memory, chosen: list[Distribution] | None) -> Rollout:
    """The record up to the last step that any environment took; the policy at each step goes to `chosen`."""
    taken = int(rows.alive.any(-1).any(0).sum())
    if chosen is not None:
        chosen.extend(
            type(rows.policy)(*step) for step in zip(*(x[:, :taken].unbind(1) for x in rows.policy), strict=True)
        )
    observation, *others = (x[:, :taken] for x in rows[:-1])
    return Rollout._make([torch.cat([begin.observation.unsqueeze(1), observation], 1), *others, memory, {}])


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
        θ, values, start = inputs
        alive, episodes_left, age, percept, carried, memory = carry
        task, state = self.task_class.restored(values), self.state_class(*(x.clone() for x in carried))
        policy, after = self.algo.act_by(θ, AgentState({}, memory), percept)
        action = policy.sample(noise.of_action)
        state, reward, terminated = self.dynamics(task, state, action, noise.next)
        age = age + 1
        truncated = (age >= self.horizon) & ~terminated
        ended = terminated | truncated
        final = self.family.observe(task, state)
        put_back(state, ended, start)
        episodes_left, age = episodes_left - ended.int(), age * ~ended
        goes_on = episodes_left > 0
        observation = torch.where(goes_on.unsqueeze(-1), self.family.observe(task, state), final)
        counted = (reward * alive, terminated & alive, truncated & alive)
        row = Recorded(observation, action, *counted, alive, policy)
        percept = Percept(observation, action, counted[0], ended & alive)
        memory = {name: after[name] for name in memory}
        return Carry(goes_on, episodes_left, age, percept, tuple(state), memory), row
