"""What a meta-learned model of an environment must be able to do for an agent that plans in it."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.component import Component
from metarl_run.kinds import Count
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Memory, Params, Percept, Rollout


class DynamicsModel(Component, ABC):
    """A model that one lifetime's experience fits to its task, and the plans made in it.

    It holds no parameters: θ comes in from outside, and what a lifetime has taught is memory, each tensor `[M, B, …]`.
    Parameters named in `measured` are statistics: they follow what meta-training sees, not a gradient, and nothing
    moves them in a new task.

    Args:
        members: E, of the ensemble.

    Attributes:
        measured: names of the statistics.
    """

    measured: ClassVar[frozenset[str]] = frozenset()

    members: Count

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh θ, statistics included."""

    @abstractmethod
    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        """The memory before any experience, `[M, 1, …]`."""

    def draw(self, params: Params, memory: Memory, percept: Percept, generator: torch.Generator) -> Memory:
        """The memory with a plan made by drawing, if plans are made so."""
        return memory

    @abstractmethod
    def act(self, params: Params, memory: Memory, percept: Percept) -> tuple[Categorical, Memory]:
        """What to do, and the memory after seeing `percept`."""

    @abstractmethod
    def measure(self, params: Params, lifetimes: Rollout) -> None:
        """Take `lifetimes`, `[T, N, …]`, into the statistics, in place."""

    @abstractmethod
    def loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """How badly the first part of each lifetime, `[T, N, …]`, predicts its rest; and quantities worth logging."""

    def shares(self, number: int, generator: torch.Generator) -> Float[Tensor, "E N"]:
        """How much each lifetime counts for each member: 1 on average, exponentially distributed.

        Source: Rubin (1981), "The Bayesian bootstrap".
        """
        if self.members == 1:
            return torch.ones(1, number, device=generator.device)
        u = torch.rand(self.members, number, generator=generator, device=generator.device)
        return u.clamp(min=1e-6).log().neg()
