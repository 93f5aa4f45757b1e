"""What an agent that remembers does at one step, as a compiled program."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.compiler import Program, compiled
from metarl_run.maths.distributions import Distribution
from metarl_run.types import AgentState, Memory, Percept

Shapes = tuple[torch.Size, ...]


class CompiledAct:
    """`act` of an agent with meta-parameters that may change between calls, where its memory keeps its shape.

    Args:
        algo: whose agent acts.
    """

    def __init__(self, algo: MetaAlgorithm) -> None:
        self.algo: Any = algo
        self.programs: dict[Shapes, Program] = {}
        self.kind: Any = None

    def __call__(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """See `metarl_run.algo.base.MetaAlgorithm.act`."""
        shapes = tuple(x.shape for x in (percept.observation, *agent.memory.values()))
        if shapes not in self.programs:
            distribution, memory = self.algo.act(agent, percept)
            if any(memory[name].shape != x.shape for name, x in agent.memory.items()):
                return distribution, memory
            self.kind = type(distribution)
            self.programs[shapes] = compiled(partial(self._act, list(agent.memory)), self._tensors(agent, percept))
        # Also at once, lest a resumed run round otherwise than the one that it goes on with.
        outputs = self.programs[shapes](*self._tensors(agent, percept))
        policy, memory = outputs[: -len(agent.memory)], outputs[-len(agent.memory) :]
        return self.kind(*policy), dict(zip(agent.memory, memory, strict=True))

    def _tensors(self, agent: AgentState, percept: Percept) -> list[Tensor]:
        return [x.contiguous() for x in (*self.algo.meta_params.values(), *percept, *agent.memory.values())]

    def _act(self, remembered: Sequence[str], *tensors: Tensor) -> tuple[Tensor, ...]:
        unread = iter(tensors)
        θ = {name: next(unread) for name in self.algo.meta_params}
        percept = Percept(*(next(unread) for _ in Percept._fields))
        agent = AgentState({}, {name: next(unread) for name in remembered})
        distribution, memory = self.algo.act_by(θ, agent, percept)
        return tuple(x.contiguous() for x in (*distribution, *(memory[name] for name in remembered)))
