"""Networks that read another part of a vector in every state."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl_run.component import field
from metarl_run.kinds import Count
from metarl_run.network.base import Network
from metarl_run.network.read import StateRead
from metarl_run.types import Memory, Params


class StateNetwork(Network):
    """Heads that read a vector b by the state s, from the input (s, b), s one-hot: `metarl_run.network.read`.

    Args:
        num_states: S.
        width: numbers read in a state.
        units: of the layer between these and the heads.
    """

    num_states: Count
    width: Count = field(default=16)
    units: Count = field(default=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.by_state = StateRead(
            num_states=self.num_states,
            num_inputs=self.num_states,
            hidden=self.num_inputs - self.num_states,
            heads=self.heads,
            width=self.width,
            units=self.units,
        )

    def init(self, generator: torch.Generator) -> Params:
        return self.by_state.init(generator)

    def head_names(self) -> frozenset[str]:
        return frozenset(self.by_state.names())

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        s, b = x.tensor_split([self.num_states], -1)
        return self.by_state(params, b, s), memory
