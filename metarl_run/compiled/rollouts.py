"""Rollouts as compiled programs, each of several steps of policy, environment and bookkeeping.

An operation on a few hundred slots takes less time than asking for it, and a program is asked for once. It is dense, so
that it does the same whatever happens: a slot whose episode is over goes on from where it began, and does not count.

What cannot be told as such a program runs as ever: agents that draw for themselves or look at numbers, and slots that
live several episodes. For agents that remember, see `metarl_run.compiled.lifetimes`, and where starts are drawn
`metarl_run.compiled.act`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.act import CompiledAct
from metarl_run.compiled.compiler import Program, compiled
from metarl_run.compiled.inputs import Given, chance
from metarl_run.compiled.lifetimes import CompiledLifetimes
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.maths.distributions import Distribution, sampling_noise
from metarl_run.rollout import Act, Draw, collect
from metarl_run.types import AgentState, Params, Percept, Rollout

STEPS = 10
"""Of one program: 8 take 1.05 times as long, and more take longer to compile."""


class CompiledRollouts:
    """`collect`, compiled where it can be: the same rollout up to rounding, of the same random numbers.

    Args:
        algo: whose agents act.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo, self.act, self.lifetimes = algo, CompiledAct(algo), CompiledLifetimes(algo)
        self.programs: dict[tuple[int, int], Program] = {}

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
    ) -> Rollout:
        """See `metarl_run.rollout.collect`."""
        with torch.no_grad():
            if self.algo.compilable and env.family.compilable:
                if not self.algo.remembers and episodes == 1:
                    return self._collect(env, act, agent.params, generator)
                if self.algo.remembers and env.family.fixed_starts:
                    rollout = self.lifetimes(env, agent, generator, episodes, chosen)
                    if rollout is not None:
                        return rollout
        act = self.act if self.algo.remembers and self.algo.compilable else act
        return collect(env, act, agent, generator, draw=draw, episodes=episodes, chosen=chosen)

    def _collect(self, env: TaskVectorEnv, act: Act, params: Params, generator: torch.Generator) -> Rollout:
        M, B, T = env.num_tasks, env.episodes_per_task, env.horizon
        now = Moment(env.start(), torch.ones(M, B, dtype=torch.bool, device=generator.device), env.state)
        first, given = now.observation, Given(params, env)
        noise = sampling_noise(env.single_action_space, (T, M, B), generator)
        noise = torch.cat([noise, noise.new_zeros(-T % STEPS, *noise.shape[1:])])  # the last program ends too late
        steps = Steps(env, act, given)
        parts: list[Sequence[Tensor]] = []
        for t, of_steps in zip(range(0, T, STEPS), torch.split(noise, STEPS), strict=True):
            if t and not now.alive.any():
                break
            drawn = chance(env, min(STEPS, T - t), STEPS)
            # All laid out alike, lest another layout be compiled for.
            tensors = [x.contiguous() for x in (*given.tensors(), *now.tensors(), *drawn, of_steps)]
            if (M, B) not in self.programs:
                self.programs[M, B] = compiled(steps, tensors)
            observation, action, reward, terminated, alive, last, goes_on, *state = self.programs[M, B](*tensors)
            now = Moment(last, goes_on, state)
            parts.append((observation, action, reward, terminated, alive))
        observation, action, reward, terminated, alive = (torch.cat(x, 1)[:, :T] for x in zip(*parts, strict=True))
        truncated = torch.zeros_like(terminated)
        if alive.shape[1] == T:
            truncated[:, -1] = alive[:, -1] & ~terminated[:, -1]
        lived = int(alive.any(-1).any(0).sum())
        recorded = (x[:, :lived] for x in (action, reward, terminated, truncated, alive))
        return Rollout._make([torch.cat([first.unsqueeze(1), observation[:, :lived]], 1), *recorded, {}])


class Moment(NamedTuple):
    """What one step hands on to the next."""

    observation: Tensor
    alive: Tensor
    state: Any

    def tensors(self) -> list[Tensor]:
        return [self.observation, self.alive, *self.state]


class Steps:
    """Some steps in every slot, as a function of tensors alone that overwrites none of them.

    Args:
        env: whose tasks are stepped.
        act: the agent's behaviour.
        given: an example.
    """

    def __init__(self, env: TaskVectorEnv, act: Act, given: Given) -> None:
        self.family, self.dynamics, self.act, self.given = env.family, env.dynamics, act, given

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """From those of a `Given` and a `Moment`, and the noise, to what was recorded `[M, steps, B, …]`, and on."""
        unread = iter(tensors)
        params, task, begun = self.given.rebuilt(unread)
        observation, alive = next(unread), next(unread)
        state = type(begun)(*(next(unread).clone() for _ in begun))
        *drawn, noise = unread
        # An agent without memory looks at the observation alone.
        nothing = torch.zeros_like(alive, dtype=observation.dtype)
        recorded = []
        for t, of_action in enumerate(noise.unbind()):
            percept = Percept(observation, nothing.long(), nothing, ~alive)
            action = self.act(AgentState(params, {}), percept)[0].sample(of_action)
            state, reward, terminated = self.dynamics(task, state, action, drawn[0][t] if drawn else None)
            observation = self.family.observe(task, state)
            recorded.append((observation, action, reward * alive, terminated & alive, alive))
            put_back(state, terminated, begun)
            alive = alive & ~terminated
        rows = (torch.stack(x, 1) for x in zip(*recorded, strict=True))
        return tuple(x.contiguous() for x in (*rows, observation, alive, *state))
