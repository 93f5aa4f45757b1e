"""A table of outputs per state."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.kinds import Real
from metarl_run.network.base import Network
from metarl_run.network.product import matmul
from metarl_run.types import Memory, Params


class Table(Network):
    """Row s of a table is the output in state s: a product of the one-hot state with the table.

    Args:
        initial_value: of every entry.
    """

    initial_value: Real

    provides: ClassVar[tuple[str, ...]] = ("table",)
    requires: ClassVar[tuple[str, ...]] = ("tabular",)

    def init(self, generator: torch.Generator) -> Params:
        return {
            head: torch.full((self.num_inputs, outputs), float(self.initial_value), device=generator.device)
            for head, outputs in self.heads.items()
        }

    def head_names(self) -> frozenset[str]:
        return frozenset(self.heads)

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        task_axes = next(iter(params.values())).dim() - 2
        rows = x.flatten(task_axes, -2)
        return {head: matmul(rows, params[head]).view(*x.shape[:-1], -1) for head in self.heads}, memory
