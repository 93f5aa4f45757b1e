"""What a network is: a pure function (params, input, memory) → (output, memory) with named heads.

The same call serves one agent and a stack of M agents: parameters either have no task axis (θ) or a leading one (φᵢ),
and matrix products broadcast. Weights are stored `[…, in, out]`, the layout that batched products read fastest.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.types import Memory, Params


class Network(ABC):
    """A parametrised function with one output per head.

    Attributes:
        provides: what the network offers, in the words that `requires` of other components use.
        requires: what it needs of the task family.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def init(self, generator: torch.Generator) -> Params:
        """Fresh parameters θ without a task axis, on the generator's device."""

    @abstractmethod
    def head_names(self) -> frozenset[str]:
        """Names of the parameters of the last layer of every head: what ANIL adapts, the rest being features.

        Source: Raghu et al. (2020), arXiv:1909.09157, section 4.
        """

    @abstractmethod
    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        """The value of each head at `x`, `[…, D]` → `[…, outputs]`, and the memory afterwards.

        If the parameters carry a task axis, so does `x`, as its first.
        """
