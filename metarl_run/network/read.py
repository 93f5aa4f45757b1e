"""Read-out of a memory by the current observation, for observations that are states, one-hot."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from metarl_run.types import Params

LAST_LAYER_SCALE = 0.01
"""As in `metarl_run.network.mlp`: policies start nearly uniform."""


@dataclass(frozen=True, kw_only=True)
class StateRead:
    """Heads that read another part of the memory h in every state s.

        y = Σₛ xₛ h Wₛ,        u = relu((y, x) A + a),        head = u W_head + (y, x) V_head + b_head

    A linear head on h and x adds what it reads of h to what it reads of x, so it cannot choose the row of s in a table
    of estimates that h holds: that product is here. Matrices start uniform in ±√(6 / (in + out)), those of the heads
    100 times smaller, biases and V at 0.

    Args:
        num_states: S; the first S features of x are s, one-hot.
        num_inputs: D, all features of x.
        hidden: H, units of the memory.
        heads: outputs of each head.
        width: W, numbers read in a state.
        units: U, of the layer u.
    """

    num_states: int
    num_inputs: int
    hidden: int
    heads: Mapping[str, int]
    width: int
    units: int

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters."""
        S, H, W, U, device = self.num_states, self.hidden, self.width, self.units, generator.device
        known = W + self.num_inputs

        def uniform(rows: int, columns: int, fan: int, scale: float = 1.0) -> Tensor:
            bound = (6 / fan) ** 0.5 * scale
            return torch.empty(rows, columns, device=device).uniform_(-bound, bound, generator=generator)

        params = {
            "read.states": uniform(H, S * W, H + W),
            "read.weight": uniform(known, U, known + U),
            "read.bias": torch.zeros(1, U, device=device),
        }
        for head, outputs in self.heads.items():
            params |= {
                f"{head}.weight": uniform(U, outputs, U + outputs, LAST_LAYER_SCALE),
                f"{head}.shortcut": torch.zeros(known, outputs, device=device),
                f"{head}.bias": torch.zeros(1, outputs, device=device),
            }
        return params

    def __call__(
        self, params: Params, h: Float[Tensor, "... H"], x: Float[Tensor, "... D"]
    ) -> dict[str, Float[Tensor, "... outputs"]]:
        """The value of each head."""
        rows, inputs = h.flatten(0, -2), x.flatten(0, -2)
        state = inputs[:, : self.num_states].argmax(-1)
        table = (rows @ params["read.states"]).view(-1, self.width)  # h Wₛ of every state; one row of it is read
        y = table.index_select(0, torch.arange(len(state), device=state.device) * self.num_states + state)
        known = torch.cat([y, inputs], -1)
        u = linear(known, params["read.weight"].mT, params["read.bias"][0]).relu()
        # One product for all heads: narrow ones are slow
        W, V, b = (
            torch.cat([params[f"{head}.{part}"] for head in self.heads], -1) for part in ("weight", "shortcut", "bias")
        )
        out = torch.cat([u, known], -1) @ torch.cat([W, V]) + b
        parts = torch.split(out.view(*x.shape[:-1], -1), list(self.heads.values()), -1)
        return dict(zip(self.heads, parts, strict=True))
