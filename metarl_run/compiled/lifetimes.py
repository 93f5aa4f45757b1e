"""Lifetimes of agents with memory as compiled programs, each of several steps: for families with fixed start states.

The program is dense: an episode that ends is put back to its start state, and steps of an environment without an
episode left are padding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils._pytree import tree_leaves

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.compiler import Program, contiguous
from metarl_run.compiled.inputs import Inputs, dynamics_noise, inputs_of
from metarl_run.env.vector import TaskVectorEnv, put_back
from metarl_run.maths.distributions import Distribution, empty_actions, sampling_noise, stacked
from metarl_run.types import AgentState, Memory, Percept, Rollout

STEPS = 5
"""Steps of one program, at most: a divisor of a lifetime. 5 of a GRU of 256 units take 40 s to compile, 10 take 60."""


class CompiledLifetimes:
    """Rollouts of whole lifetimes, from the same random numbers as those of `collect` if all lifetimes end together.

    Args:
        algo: of the agents.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo: Any = algo
        self.programs: dict[tuple[int, int, int], Program] = {}
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
        steps = max(n for n in range(1, STEPS + 1) if T % n == 0)
        percept = first(env, episodes)
        if (M, B) not in self.shapes:
            self.shapes[M, B] = self._shapes(agent, percept)
        shapes = self.shapes[M, B]
        if shapes is None:
            return None
        memory = {name: x.detach().expand(shapes[name]) for name, x in agent.memory.items()}
        age = torch.zeros(M, B, dtype=torch.int32, device=generator.device)
        carry = Carry(torch.ones_like(percept.last_ended), age + episodes, age, percept, tuple(env.state), memory)
        inputs = inputs_of(self.algo.meta_params, env)
        unchanged, carried = contiguous(tree_leaves(inputs)), contiguous(tree_leaves(carry))
        noise, parts = list[Tensor](), list[Sequence[Tensor]]()
        for t in range(0, T, steps):
            if t and not carried[ALIVE].any():
                break
            while len(noise) < steps:
                noise.extend(sampling_noise(env.single_action_space, (env.horizon, M, B), generator))
            drawn, action_noise = dynamics_noise(env, steps, steps), torch.stack(noise[:steps])
            del noise[:steps]
            if (M, B, steps) not in self.programs:
                self.programs[M, B, steps] = Program(Steps(self.algo, env), inputs, carry, drawn, action_noise)
            outputs = self.programs[M, B, steps](*unchanged, *carried, *drawn, action_noise)
            carried, part = list(outputs[: len(carried)]), outputs[len(carried) :]
            parts.append(part)
        program = self.programs[M, B, steps]
        rows: Recorded = program.record(1, [torch.cat(x, 1) for x in zip(*parts, strict=True)])
        return rollout_of(percept, rows, program.record(0, carried).memory, chosen)

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


ALIVE = 0
"""Place of `alive` among the tensors of a `Carry`, which is looked at between programs."""


class Recorded(NamedTuple):
    """Record of several steps, `[M, steps, B, …]`, see `metarl_run.types.Rollout`, and the policy at each."""

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


class Steps:
    """Several steps in every environment as a pure function.

    Args:
        algo: of the agents.
        env: of the tasks.
    """

    def __init__(self, algo: Any, env: TaskVectorEnv) -> None:
        self.algo, self.family, self.dynamics, self.horizon = algo, env.family, env.dynamics, env.horizon
        self.task_class, self.state_class = type(env.task), type(env.state)

    def __call__(self, inputs: Inputs, carry: Carry, drawn: list[Tensor], noise: Tensor) -> tuple[Carry, Recorded]:
        θ, values, start = inputs
        alive, episodes_left, age, percept, carried, memory = carry
        names = list(memory)
        task, state = self.task_class.restored(values), self.state_class(*(x.clone() for x in carried))
        recorded, policies = [], []
        for t, action_noise in enumerate(noise.unbind()):
            policy, memory = self.algo.act_by(θ, AgentState({}, memory), percept)
            action = policy.sample(action_noise)
            state, reward, terminated = self.dynamics(task, state, action, drawn[0][t] if drawn else None)
            age = age + 1
            truncated = (age >= self.horizon) & ~terminated
            ended = terminated | truncated
            final = self.family.observe(task, state)
            put_back(state, ended, start)
            episodes_left, age = episodes_left - ended.int(), age * ~ended
            goes_on = episodes_left > 0
            observation = torch.where(goes_on.unsqueeze(-1), self.family.observe(task, state), final)
            counted = (reward * alive, terminated & alive, truncated & alive)
            recorded.append((observation, action, *counted, alive))
            policies.append(policy)
            percept = Percept(observation, action, counted[0], ended & alive)
            alive = goes_on
        memory = {name: memory[name] for name in names}
        rows = Recorded._make([*(torch.stack(x, 1) for x in zip(*recorded, strict=True)), stacked(policies, 1)])
        return Carry(alive, episodes_left, age, percept, tuple(state), memory), rows
