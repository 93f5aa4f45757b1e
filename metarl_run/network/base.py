"""What a network is: a pure function (params, input, memory) → (output, memory) with named heads.

The same call serves one agent and a stack of M agents: parameters either have no task axis (θ) or a leading one (φᵢ),
and matrix products broadcast. Weights are stored `[…, in, out]`, the layout that batched products read fastest.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.component import Component
from metarl_run.kinds import Count
from metarl_run.types import Memory, Params


class Network(Component, ABC):
    """A parametrised function with one output per head.

    Args:
        num_inputs: D, features of the input.
        heads: outputs of each head.

    Attributes:
        provides: what the network offers, in the words that `requires` of other components use.
        requires: what it needs of the task family.
    """

    num_inputs: Count
    heads: Mapping[str, int]

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh parameters θ without a task axis, on the generator's device."""

    @abstractmethod
    def head_names(self) -> frozenset[str]:
        """Names of the parameters of the last layer of every head: what ANIL adapts, the rest being features.

        Source: Raghu et al. (2020), arXiv:1909.09157.
        """

    @abstractmethod
    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        """The value of each head at `x`, `[…, D]` → `[…, outputs]`, and the memory afterwards.

        If the parameters carry a task axis, so does `x`, as its first. A network with memory has no task axis in its
        parameters, takes `x` as `[M, B, D]` and its memory as `[M, B, …]` or, before any input, `[M, 1, …]`.
        """

    def keep_heads_apart(self) -> None:
        """From now on a derivative by the heads' parameters alone does not pass through the layers that feed them."""

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        """The memory before any input, each tensor `[M, 1, …]`; nothing if the network has none."""
        return {}

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        """The value of each head, `[T, N, outputs]`, after seeing x₀ … xₜ from a blank memory: T calls in one pass."""
        return self(params, x, {})[0]
