"""Read-out of a memory by the current observation, for observations that are states, one-hot."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

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
            "read.states": uniform(S * H, W, H + W).view(S, H, W),
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

    def names(self) -> list[str]:
        """Names of the parameters."""
        of_heads = [f"{head}.{part}" for head in self.heads for part in ("weight", "shortcut", "bias")]
        return ["read.states", "read.weight", "read.bias", *of_heads]

    def __call__(
        self, params: Params, h: Float[Tensor, "... H"], x: Float[Tensor, "... D"]
    ) -> dict[str, Float[Tensor, "... outputs"]]:
        """The value of each head."""
        rows, inputs = h.flatten(0, -2), x.flatten(0, -2)
        y = read(rows, params["read.states"], inputs[:, : self.num_states].argmax(-1))
        return {head: out.view(*x.shape[:-1], -1) for head, out in self.given(params, y, inputs).items()}

    def everywhere(self, params: Params, h: Float[Tensor, "N H"]) -> dict[str, Float[Tensor, "N S outputs"]]:
        """The value of each head in every state, where x has no features but those of the state."""
        table = params["read.states"].transpose(0, 1).flatten(1)
        y = (h @ table).view(-1, self.width)
        states = torch.eye(self.num_states, dtype=h.dtype, device=h.device).repeat(len(h), 1)
        return {head: out.view(len(h), self.num_states, -1) for head, out in self.given(params, y, states).items()}

    def given(
        self, params: Params, y: Float[Tensor, "N W"], inputs: Float[Tensor, "N D"]
    ) -> dict[str, Float[Tensor, "N outputs"]]:
        """The value of each head, given what is read, y."""
        A_y, A_x = params["read.weight"].tensor_split([self.width])
        W, V, b = (
            torch.cat([params[f"{head}.{part}"] for head in self.heads], -1) for part in ("weight", "shortcut", "bias")
        )
        V_y, V_x = V.tensor_split([self.width])
        # One product for what the layer and all heads read of x: narrow ones are slow
        of_x, shortcut = (inputs @ torch.cat([A_x, V_x], -1)).tensor_split([self.units], -1)
        u = (torch.addmm(params["read.bias"], y, A_y) + of_x).relu()
        out = torch.addmm(b, torch.cat([u, y], -1), torch.cat([W, V_y])) + shortcut
        parts = torch.split(out, list(self.heads.values()), -1)
        return dict(zip(self.heads, parts, strict=True))


def read(h: Float[Tensor, "N H"], W: Float[Tensor, "S H W"], state: Int[Tensor, " N"]) -> Float[Tensor, "N W"]:
    """h Wₛ of each row's own state."""
    if not torch.is_grad_enabled():
        S, H, width = W.shape
        table = (h @ W.transpose(0, 1).reshape(H, S * width)).view(-1, width)  # of every state; one row of it is read
        return table.index_select(0, torch.arange(len(state), device=state.device) * S + state)
    y: Tensor = Read.apply(h, W, state)  # type: ignore[no-untyped-call]
    return y


class Read(torch.autograd.Function):
    """`read`, with a product for the rows of each state instead of one for every row in every state."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, W: Tensor, state: Tensor) -> Tensor:
        order = state.argsort()
        counts = torch.bincount(state, minlength=len(W)).tolist()
        there = h.index_select(0, order)
        ordered = torch.cat([rows @ of for rows, of in zip(torch.split(there, counts), W.unbind(0), strict=True)])
        ctx.save_for_backward(there, W, order)
        ctx.counts = counts
        return torch.empty_like(ordered).index_copy_(0, order, ordered)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None]:
        there, W, order = ctx.saved_tensors
        ordered = dy.index_select(0, order)
        dh, dW = torch.empty_like(there), torch.empty_like(W)
        every = (*(torch.split(x, ctx.counts) for x in (there, ordered, dh)), W.unbind(0), dW.unbind(0))
        for rows, d, to_h, of, to_W in zip(*every, strict=True):
            torch.mm(d, of.mT, out=to_h)
            torch.mm(rows.mT, d, out=to_W)
        return torch.empty_like(dh).index_copy_(0, order, dh), dW, None
