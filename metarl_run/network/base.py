"""Networks: pure functions (params, input, memory) → (output, memory) with named heads.

The same call serves one agent and a stack of M agents: parameters either have no task axis (θ) or a leading one (φᵢ),
and matrix products broadcast. Weights are stored `[…, in, out]`, the fastest layout for batched products.
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
        provides: capabilities that other components may require.
        requires: capabilities that other components must provide.
        sizes: arguments whose product is at most the number of `parameters`; for an estimate of memory.
    """

    num_inputs: Count
    heads: Mapping[str, int]

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {}

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh parameters θ without a task axis, on the generator's device."""

    @abstractmethod
    def head_names(self) -> frozenset[str]:
        """Names of the last layer's parameters of every head, which ANIL adapts; the rest are features.

        Source: Raghu et al. (2020), arXiv:1909.09157.
        """

    @abstractmethod
    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        """The value of each head at `x`, `[…, D]` → `[…, outputs]`, and the memory afterwards.

        If the parameters have a task axis, so does `x`, as its first. A network with memory has no task axis in its
        parameters; its `x` is `[M, B, D]` and its memory `[M, B, …]` or, before any input, `[M, 1, …]`.
        """

    def keep_heads_apart(self) -> None:
        """Make derivatives with respect to the heads' parameters alone skip the layers below, from now on."""

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        """The memory before any input, each tensor `[M, 1, …]`; empty if the network has none."""
        return {}

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        """The value of each head, `[T, N, outputs]`, after x₀ … xₜ from the initial memory: T calls in one pass."""
        return self(params, x, {})[0]
