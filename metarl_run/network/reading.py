"""Common part of networks with memory: the choice of how heads read it."""

from typing import Any, ClassVar, Literal

import gymnasium

from metarl_run.component import field
from metarl_run.kinds import Count
from metarl_run.network.base import Network
from metarl_run.network.hypernetwork import Hypernetwork
from metarl_run.network.read import StateRead


class Reading(Network):
    """A network with memory, whose heads read H numbers after every step.

    Args:
        hidden: H.
        read: of the heads: `linear`; by the `observation`, see `metarl_run.network.read`; or a network of the
            observation with parameters from a `hypernetwork`, see `metarl_run.network.hypernetwork`.
        read_width: numbers read in a state, by the observation.
        read_units: of the layer between these and the heads, or between the observation and the heads.
        observation_space: of the task family, by whose observations the memory is read.

    Attributes:
        reader: heads that are not linear.
        linear: parameters of each head that is.
    """

    hidden: Count
    read: Literal["linear", "observation", "hypernetwork"] = field(default="linear")
    read_width: Count = field(default=16)
    read_units: Count = field(default=64)
    observation_space: gymnasium.Space[Any] | None = field(default=None)

    provides: ClassVar[tuple[str, ...]] = ("memory",)
    requires: ClassVar[tuple[str, ...]] = ("remembers",)
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "read": {"observation": ("tabular", "observation_first"), "hypernetwork": ("observation_first",)}
    }
    linear: ClassVar[tuple[str, ...]] = ("weight", "bias")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.reader: StateRead | Hypernetwork | None = None
        if self.read == "linear":
            return
        observed = 0 if self.observation_space is None else (self.observation_space.shape or (0,))[0]
        if not observed:
            raise ValueError(f"read {self.read} needs an observation_space")
        if self.read == "hypernetwork":
            self.reader = Hypernetwork(
                num_observed=observed, hidden=self.hidden, heads=self.heads, units=self.read_units
            )
        else:
            self.reader = StateRead(
                num_states=observed,
                num_inputs=self.num_inputs,
                hidden=self.hidden,
                heads=self.heads,
                width=self.read_width,
                units=self.read_units,
            )

    def head_names(self) -> frozenset[str]:
        if self.reader:
            return frozenset(self.reader.names())
        return frozenset(f"{head}.{part}" for head in self.heads for part in self.linear)
