"""Lifetimes of agents that remember as compiled programs, each of several steps: for families with fixed starts.

The program is dense: an episode that ends is put back to where it began, and a slot without an episode left goes on and
does not count.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled_given import Given, chance
from metarl_run.compiler import Program, compiled
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.policy import Distribution, empty_actions, sampling_noise
from metarl_run.types import AgentState, Memory, Percept, Rollout

STEPS = 5
"""Of one program, at most: as many as divide a lifetime. Of a GRU of 256 units 5 are compiled in 40 s, 10 in 60."""


class CompiledLifetimes:
    """Rollouts of whole lifetimes, of the same random numbers as `collect` where all end at once.

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
        yes = torch.ones(M, B, dtype=torch.bool, device=generator.device)
        zero = torch.zeros(M, B, dtype=torch.int32, device=generator.device)
        now = [*percept, yes, zero + episodes, zero, *env.state, *memory.values()]
        given = Given(self.algo.meta_params, env)
        lives = Lives(self.algo, env, given, list(memory))
        noise, parts = list[Tensor](), list[Sequence[Tensor]]()
        for t in range(0, T, steps):
            if t and not now[len(percept)].any():
                break
            while len(noise) < steps:
                noise.extend(sampling_noise(env.single_action_space, (env.horizon, M, B), generator))
            drawn = [*chance(env, steps, steps), torch.stack(noise[:steps])]
            del noise[:steps]
            # All laid out alike, lest another layout be compiled for.
            tensors = [x.detach().contiguous() for x in (*given.tensors(), *now, *drawn)]
            if (M, B, steps) not in self.programs:
                self.programs[M, B, steps] = compiled(lives, tensors)
                self.kind = lives.kind
            outputs = self.programs[M, B, steps](*tensors)
            parts.append(outputs[: -len(now)])
            now = list(outputs[-len(now) :])
        observation, *recorded = (torch.cat(x, 1) for x in zip(*parts, strict=True))
        alive = recorded[4]
        lived = int(alive.any(-1).any(0).sum())
        action, reward, terminated, truncated, alive, *policy = (x[:, :lived] for x in recorded)
        if chosen is not None:
            chosen.extend(self.kind(*of_step) for of_step in zip(*(x.unbind(1) for x in policy), strict=True))
        observation = torch.cat([percept.observation.unsqueeze(1), observation[:, :lived]], 1)
        memory = dict(zip(memory, now[-len(memory) :], strict=True))
        return Rollout(observation, action, reward, terminated, truncated, alive, memory)

    def _shapes(self, agent: AgentState, percept: Percept) -> Mapping[str, torch.Size] | None:
        """Those that the memory keeps from the first step on; None if it goes on to change them."""
        _, once = self.algo.act(agent, percept)
        _, twice = self.algo.act(agent._replace(memory=once), percept)
        shapes = {name: x.shape for name, x in once.items()}
        return shapes if shapes == {name: x.shape for name, x in twice.items()} else None


def first(env: TaskVectorEnv, episodes: int) -> Percept:
    """What is perceived as lifetimes begin."""
    observation = env.start(episodes)
    M, B = env.num_tasks, env.episodes_per_task
    reward = torch.zeros(M, B, device=observation.device)
    action = empty_actions(env.single_action_space, (M, B), observation.device)
    return Percept(observation, action, reward, torch.ones_like(reward, dtype=torch.bool))


class Lives:
    """Some steps in every slot, as a function of tensors alone that overwrites none of them.

    Args:
        algo: whose agents live.
        env: whose tasks are stepped.
        given: an example of what stays as it is.
        remembered: the names of the memory.
    """

    def __init__(self, algo: Any, env: TaskVectorEnv, given: Given, remembered: Sequence[str]) -> None:
        self.algo, self.family, self.horizon, self.given, self.remembered = (
            algo,
            env.family,
            env.horizon,
            given,
            remembered,
        )
        self.kind: Any = None

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From what is given, a moment and noise, to what was recorded `[M, steps, B, …]`, and the next moment."""
        unread = iter(tensors)
        θ, task, begun = self.given.rebuilt(unread)
        percept = Percept(*(next(unread) for _ in Percept._fields))
        alive, episodes_left, age = (next(unread) for _ in range(3))
        state = type(begun)(*(next(unread).clone() for _ in begun))
        memory: Memory = {name: next(unread) for name in self.remembered}
        *drawn, noise = unread
        recorded = []
        for t, of_action in enumerate(noise.unbind()):
            distribution, memory = self.algo.act_by(θ, AgentState({}, memory), percept)
            self.kind = type(distribution)
            action = distribution.sample(of_action)
            state, reward, terminated = self.family.step(task, state, action, drawn[0][t] if drawn else None)
            age = age + 1
            truncated = (age >= self.horizon) & ~terminated
            ended = terminated | truncated
            final = self.family.observe(task, state)
            put_back(state, ended, begun)
            episodes_left, age = episodes_left - ended.int(), age * ~ended
            goes_on = episodes_left > 0
            observation = torch.where(goes_on.unsqueeze(-1), self.family.observe(task, state), final)
            told = (reward * alive, terminated & alive, truncated & alive)
            recorded.append((observation, action, *told, alive, *distribution))
            percept = Percept(observation, action, told[0], ended & alive)
            alive = goes_on
        rows = (torch.stack(x, 1) for x in zip(*recorded, strict=True))
        after = (*percept, alive, episodes_left, age, *state, *(memory[name] for name in self.remembered))
        return tuple(x.contiguous() for x in (*rows, *after))
