"""Lifetimes of agents that remember as compiled programs, each of several steps: for families with fixed starts.

The program is dense: an episode that ends is put back to where it began, and a slot without an episode left goes on and
does not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.compiler import Program, compiled
from metarl_run.compiled.inputs import Given, chance
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.maths.distributions import Distribution, empty_actions, sampling_noise
from metarl_run.types import AgentState, Memory, Percept, Rollout

STEPS = 5
"""Of one program, at most: as many as divide a lifetime. Of a GRU of 256 units 5 are compiled in 40 s, 10 in 60."""


class CompiledLifetimes:
    """Rollouts of whole lifetimes, of the same random numbers as those of `collect` where all lifetimes end at once.

    Args:
        algo: whose agents live.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo: Any = algo
        self.programs: dict[tuple[int, int, int], Program] = {}
        self.shapes: dict[tuple[int, int], Mapping[str, torch.Size] | None] = {}
        self.kind: Any = None

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
        steps = max(n for n in range(1, STEPS + 1) if T % n == 0)
        percept = first(env, episodes)
        if (M, B) not in self.shapes:
            self.shapes[M, B] = self._shapes(agent, percept)
        shapes = self.shapes[M, B]
        if shapes is None:
            return None
        memory = {name: x.expand(shapes[name]) for name, x in agent.memory.items()}
        age = torch.zeros(M, B, dtype=torch.int32, device=generator.device)
        now = Moment(percept, torch.ones_like(percept.last_ended), age + episodes, age, env.state, memory)
        given = Given(self.algo.meta_params, env)
        noise, parts = list[Tensor](), list[Sequence[Tensor]]()
        for t in range(0, T, steps):
            if t and not now.alive.any():
                break
            while len(noise) < steps:
                noise.extend(sampling_noise(env.single_action_space, (env.horizon, M, B), generator))
            drawn = [*chance(env, steps, steps), torch.stack(noise[:steps])]
            del noise[:steps]
            # All laid out alike, lest another layout be compiled for.
            tensors = [x.detach().contiguous() for x in (*given.tensors(), *now.tensors(), *drawn)]
            if (M, B, steps) not in self.programs:
                lives = Lives(self.algo, env, given, now)
                self.programs[M, B, steps], self.kind = compiled(lives, tensors), lives.kind
            unread = iter(self.programs[M, B, steps](*tensors))
            now = now.rebuilt(unread)
            parts.append(list(unread))
        return self._rollout(percept, parts, now, chosen)

    def _shapes(self, agent: AgentState, percept: Percept) -> Mapping[str, torch.Size] | None:
        """Those that the memory keeps from the first step on; None if it goes on to change them."""
        _, once = self.algo.act(agent, percept)
        _, twice = self.algo.act(agent._replace(memory=once), percept)
        shapes = {name: x.shape for name, x in once.items()}
        return shapes if shapes == {name: x.shape for name, x in twice.items()} else None

    def _rollout(
        self, begun: Percept, parts: list[Sequence[Tensor]], end: "Moment", chosen: list[Distribution] | None
    ) -> Rollout:
        """What was recorded, up to the last step that any slot took."""
        observation, action, reward, terminated, truncated, alive, *policy = (
            torch.cat(x, 1) for x in zip(*parts, strict=True)
        )
        lived = int(alive.any(-1).any(0).sum())
        if chosen is not None:
            of_steps = zip(*(x[:, :lived].unbind(1) for x in policy), strict=True)
            chosen.extend(self.kind(*of_step) for of_step in of_steps)
        recorded = (x[:, :lived] for x in (action, reward, terminated, truncated, alive))
        observation = torch.cat([begun.observation.unsqueeze(1), observation[:, :lived]], 1)
        return Rollout._make([observation, *recorded, end.memory])


def first(env: TaskVectorEnv, episodes: int) -> Percept:
    """What is perceived as lifetimes begin."""
    observation = env.start(episodes)
    M, B = env.num_tasks, env.episodes_per_task
    reward = torch.zeros(M, B, device=observation.device)
    action = empty_actions(env.single_action_space, (M, B), observation.device)
    return Percept(observation, action, reward, torch.ones_like(reward, dtype=torch.bool))


class Moment(NamedTuple):
    """What one step hands on to the next.

    Attributes:
        percept: what is acted on.
        alive: the slot has an episode to live.
        episodes_left: to live, this one included.
        age: steps since the episode began.
        state: the family's.
        memory: the agents'.
    """

    percept: Percept
    alive: Bool[Tensor, "M B"]
    episodes_left: Int[Tensor, "M B"]
    age: Int[Tensor, "M B"]
    state: Any
    memory: Memory

    def tensors(self) -> list[Tensor]:
        return [*self.percept, self.alive, self.episodes_left, self.age, *self.state, *self.memory.values()]

    def rebuilt(self, unread: Iterator[Tensor]) -> "Moment":
        """The same of other tensors, in the same order."""
        percept = Percept(*(next(unread) for _ in self.percept))
        alive, episodes_left, age = (next(unread) for _ in range(3))
        state = type(self.state)(*(next(unread) for _ in self.state))
        return Moment(percept, alive, episodes_left, age, state, {name: next(unread) for name in self.memory})


class Lives:
    """Some steps in every slot, as a function of tensors alone that overwrites none of them.

    Args:
        algo: whose agents live.
        env: whose tasks are stepped.
        given: an example of what stays as it is.
        now: an example of a moment.

    Attributes:
        kind: of the distributions that actions are drawn from, once it has been called.
    """

    def __init__(self, algo: Any, env: TaskVectorEnv, given: Given, now: Moment) -> None:
        self.algo, self.family, self.dynamics, self.horizon = algo, env.family, env.dynamics, env.horizon
        self.given, self.now, self.kind = given, now, type(None)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From what is given, a moment and noise, to the next moment, and what was recorded, `[M, steps, B, …]`."""
        unread = iter(tensors)
        θ, task, begun = self.given.rebuilt(unread)
        percept, alive, episodes_left, age, state, memory = self.now.rebuilt(unread)
        state = type(state)(*(x.clone() for x in state))
        *drawn, noise = unread
        recorded = []
        for t, of_action in enumerate(noise.unbind()):
            policy, memory = self.algo.act_by(θ, AgentState({}, memory), percept)
            self.kind = type(policy)
            action = policy.sample(of_action)
            state, reward, terminated = self.dynamics(task, state, action, drawn[0][t] if drawn else None)
            age = age + 1
            truncated = (age >= self.horizon) & ~terminated
            ended = terminated | truncated
            final = self.family.observe(task, state)
            put_back(state, ended, begun)
            episodes_left, age = episodes_left - ended.int(), age * ~ended
            goes_on = episodes_left > 0
            observation = torch.where(goes_on.unsqueeze(-1), self.family.observe(task, state), final)
            counted = (reward * alive, terminated & alive, truncated & alive)
            recorded.append((observation, action, *counted, alive, *policy))
            percept = Percept(observation, action, counted[0], ended & alive)
            alive = goes_on
        now = Moment(percept, alive, episodes_left, age, state, {name: memory[name] for name in self.now.memory})
        rows = (torch.stack(x, 1) for x in zip(*recorded, strict=True))
        return tuple(x.contiguous() for x in (*now.tensors(), *rows))
