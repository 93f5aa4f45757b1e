"""Interface of meta-learned dynamics models that an agent plans in."""

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
    """A dynamics model that adapts to a task within a lifetime, and a planner that acts in it.

    It is stateless: θ is an argument, and a lifetime's experience is summarised in the memory, each tensor `[M, B, …]`.
    Parameters in `measured` are running statistics of the meta-training experience: they are not learned by gradient
    and do not change in a new task.

    Args:
        members: E, ensemble members.

    Attributes:
        measured: names of the statistics.
    """

    measured: ClassVar[frozenset[str]] = frozenset()

    members: Count

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Initial θ, including statistics."""

    @abstractmethod
    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        """The memory before any experience, `[M, 1, …]`."""

    def draw(self, params: Params, memory: Memory, percept: Percept, generator: torch.Generator) -> Memory:
        """The memory with a new plan, for planners that draw random numbers."""
        return memory

    @abstractmethod
    def act(self, params: Params, memory: Memory, percept: Percept) -> tuple[Categorical, Memory]:
        """The distribution of the next action, and the memory after seeing `percept`."""

    @abstractmethod
    def measure(self, params: Params, lifetimes: Rollout) -> None:
        """Add `lifetimes`, `[T, N, …]`, to the running statistics, in place."""

    @abstractmethod
    def loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Negative log-likelihood of the rest of each lifetime, `[T, N, …]`, given its beginning; and metrics."""

    def bootstrap_weights(self, number: int, generator: torch.Generator) -> Float[Tensor, "E N"]:
        """Random weight of each lifetime in each member's loss: exponentially distributed with mean 1.

        Source: Rubin (1981), "The Bayesian bootstrap".
        """
        if self.members == 1:
            return torch.ones(1, number, device=generator.device)
        u = torch.rand(self.members, number, generator=generator, device=generator.device)
        return u.clamp(min=1e-6).log().neg()
