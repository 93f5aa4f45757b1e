"""One step of an agent with memory as a compiled program."""

from typing import Any

import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.compiled.compiler import Program, contiguous
from metarl_run.maths.distributions import Distribution
from metarl_run.types import AgentState, Memory, Params, Percept

Shapes = tuple[torch.Size, ...]


class CompiledAct:
    """Compiled `act` of an agent whose memory keeps its shape; its meta-parameters may change between calls.

    Args:
        algo: of the agents.
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
            self.programs[shapes] = Program(self._act, self.algo.meta_params, percept, agent.memory)
        # The first result is the program's too: a resumed run must round like the run that it continues.
        tensors = (*self.algo.meta_params.values(), *percept, *agent.memory.values())
        outputs = self.programs[shapes](*contiguous(tensors))
        policy, memory = outputs[: -len(agent.memory)], outputs[-len(agent.memory) :]
        return self.kind(*policy), dict(zip(agent.memory, memory, strict=True))

    def _act(self, θ: Params, percept: Percept, memory: Memory) -> tuple[Distribution, Memory]:
        distribution, after = self.algo.act_by(θ, AgentState({}, memory), percept)
        return distribution, {name: after[name] for name in memory}
