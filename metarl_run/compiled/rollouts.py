"""Rollouts as compiled programs, each of several steps of policy, environment and bookkeeping.

On a few hundred environments an operation takes less time than its launch from Python; a program is launched once.
It is dense, so that it does the same whatever happens: an environment whose episode is over continues from the start
state, and its steps are padding.

Agents that cannot be traced, since they draw or read values, fall back to eager mode, and so do families with outcomes
and rollouts of several episodes. For agents with memory see `metarl_run.compiled.lifetimes`, and where the environment
cannot be compiled, `metarl_run.compiled.act`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.act import CompiledAct
from metarl_run.compiled.lifetimes import CompiledLifetimes
from metarl_run.compiled.scan import Inputs, Noise, Scan, dynamics_noise
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.maths.distributions import Distribution, random_numbers
from metarl_run.rollout import Act, Draw, collect
from metarl_run.types import AgentState, Params, Percept, Rollout

STEPS = 20
"""Steps of one program, after which it is seen whether any environment is still alive."""


class CompiledRollouts:
    """`collect`, compiled where possible: the same rollout up to rounding, from the same random numbers.

    Args:
        algo: of the agents.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo = algo
        self.act, self.lifetimes = CompiledAct(algo), CompiledLifetimes(algo)
        self.scan: Scan | None = None

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
            if traceable(self.algo, env.family):
                if not self.algo.remembers and episodes == 1:
                    return self._collect(env, act, agent.params, generator)
                if self.algo.remembers:
                    rollout = self.lifetimes(env, agent, generator, episodes, chosen)
                    if rollout is not None:
                        return rollout
        act = self.act if self.algo.remembers and self.algo.compilable else act
        return collect(env, act, agent, generator, draw=draw, episodes=episodes, chosen=chosen)

    def _collect(self, env: TaskVectorEnv, act: Act, params: Params, generator: torch.Generator) -> Rollout:
        M, B, T = env.num_tasks, env.episodes_per_task, env.horizon
        first = env.start()
        carry = Carry(
            torch.ones(M, B, dtype=torch.bool, device=generator.device), first, tuple(x.clone() for x in env.state)
        )
        numbers = random_numbers(env.single_action_space, (T, M, B), generator)
        if T % STEPS:  # the last program goes beyond T
            numbers = torch.cat([numbers, numbers.new_zeros(-T % STEPS, *numbers.shape[1:])])
        chunks = (
            Noise(of_actions, dynamics_noise(env, min(STEPS, T - t), STEPS))
            for t, of_actions in zip(range(0, T, STEPS), torch.split(numbers, STEPS), strict=True)
        )
        if self.scan is None:
            self.scan = Scan(Step(env, act))
        _, rows = self.scan(env, first, params, carry.state, carry, chunks)
        action, reward, terminated, alive = (x[:, :T] for x in rows[1:])
        truncated = torch.zeros_like(terminated)
        if alive.shape[1] == T:
            truncated[:, -1] = alive[:, -1] & ~terminated[:, -1]
        taken = int(alive.any(-1).any(0).sum())
        recorded = (x[:, :taken] for x in (action, reward, terminated, truncated, alive))
        return Rollout._make([rows.observation[:, : taken + 1], *recorded, {}, {}])


def traceable(algo: MetaAlgorithm, family: TaskFamily) -> bool:
    """Whether whole steps of these agents in these tasks can be compiled."""
    return algo.compilable and family.compilable and family.normalisation is None and not family.outcomes


class Carry(NamedTuple):
    """State that one step hands to the next: which environments are alive, what they observe, the family's state."""

    alive: Tensor
    observation: Tensor
    state: tuple[Tensor, ...]


class Recorded(NamedTuple):
    """Record of a step, see `metarl_run.types.Rollout`."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    alive: Tensor


class Step:
    """A step in every environment as a pure function.

    Args:
        env: of the tasks.
        act: the agent's behaviour.
    """

    def __init__(self, env: TaskVectorEnv, act: Act) -> None:
        self.family, self.dynamics, self.act = env.family, env.dynamics, act
        self.task_class, self.state_class = type(env.task), type(env.state)

    def __call__(self, inputs: Inputs, carry: Carry, noise: Noise) -> tuple[Carry, Recorded]:
        params, values, start = inputs
        alive, observation, carried = carry
        task, state = self.task_class.restored(values), self.state_class(*(x.clone() for x in carried))
        # An agent without memory looks at the observation alone.
        nothing = torch.zeros_like(alive, dtype=observation.dtype)
        percept = Percept(observation, nothing.long(), nothing, ~alive)
        action = self.act(AgentState(params, {}), percept)[0].sample(noise.of_action)
        state, reward, terminated = self.dynamics(task, state, action, noise.next)
        observation = self.family.observe(task, state)
        row = Recorded(observation, action, reward * alive, terminated & alive, alive)
        put_back(state, terminated, start)
        return Carry(alive & ~terminated, observation, tuple(state)), row
