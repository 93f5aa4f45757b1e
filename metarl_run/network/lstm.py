"""Long short-term memory."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.kinds import Count, checked
from metarl_run.network.recurrent import Recurrent, blocks, through_sigmoid, through_tanh
from metarl_run.network.tanh_layer import tanh_
from metarl_run.types import Memory, Params


class LSTM(Recurrent):
    """A memory of H cells that gates write, keep and show.

        (i, f, o, n) = x W + b + h U
        c′ = σ(f) c + σ(i) tanh(n),        h′ = σ(o) tanh(c′)

    The bias of f starts at 1: a cell keeps what it holds until it learns otherwise.

    Args:
        num_inputs: D, features of the input.
        heads: outputs of each head.
        hidden: H, cells of the memory.

    Source: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000), "Learning to Forget", for the gate
    f; Jozefowicz, Zaremba and Sutskever (2015), section 2.2, for its bias.
    """

    gates: ClassVar[int] = 4

    @checked
    def __init__(self, *, num_inputs: int, heads: Mapping[str, int], hidden: Count) -> None:
        super().__init__(num_inputs, heads, hidden)

    def init(self, generator: torch.Generator) -> Params:
        params = super().init(generator)
        params["input.bias"][:, self.hidden : 2 * self.hidden] = 1
        return params

    def blank(self, params: Params, num_tasks: int) -> Memory:
        zeros = params["memory.weight"].new_zeros(num_tasks, 1, self.hidden)
        return {"h": zeros, "c": zeros}

    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        H = self.hidden
        m = g.addmm_(state["h"], params["memory.weight"])
        i, f, o = m[:, : 3 * H].sigmoid_().chunk(3, -1)
        c = torch.addcmul(f * state["c"], i, tanh_(m[:, 3 * H :]))
        return {"h": o * tanh_(c.clone()), "c": c}

    def scan(self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D GH"]) -> Float[Tensor, "T N H"]:
        h: Tensor = Scan.apply(x @ W, params["memory.weight"])  # type: ignore[no-untyped-call]
        return h


class Scan(torch.autograd.Function):
    """h₁ … h_T from g₁ … g_T and h₀ = c₀ = 0, with the derivative written out as that of `metarl_run.network.gru`."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, U: Tensor) -> Tensor:
        T, N, H = *g.shape[:2], len(U)
        h = g.new_empty(T, N, H)
        gate = torch.empty_like(g)  # σ(i), σ(f), σ(o), tanh(n) of every step
        cell = torch.empty_like(h)  # c
        for block in blocks(H, g, gate, cell, h):
            before = old = torch.zeros_like(block[-1][0])
            for now, a, c, into in zip(*(x.unbind(0) for x in block), strict=True):
                torch.addmm(now, before, U, out=a)
                i, f, o = a[:, : 3 * H].sigmoid_().chunk(3, -1)
                torch.mul(f, old, out=c).addcmul_(i, tanh_(a[:, 3 * H :]))
                before, old = tanh_(into.copy_(c)).mul_(o), c
        ctx.save_for_backward(U, h, gate, cell)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor]:
        U, h, gate, cell = ctx.saved_tensors
        H, Ut = len(U), U.t().contiguous()
        dg, dU = torch.empty_like(gate), torch.zeros_like(U)
        for block in blocks(H, dh, h, cell, gate, dg):
            dhs, hs, cs, *others = (x.unbind(0) for x in block)
            blank, back, dc = (torch.zeros_like(hs[0]) for _ in range(3))  # and what reaches hₜ and cₜ from later steps
            d, e, s = (torch.empty_like(blank) for _ in range(3))
            steps = list(zip(dhs, (blank, *hs[:-1]), (blank, *cs[:-1]), cs, *others, strict=True))
            for now, before, old, c, a, da in reversed(steps):
                (i, f, o, n), (di, df, do, dn) = a.split(H, -1), da.split(H, -1)
                torch.add(now, back, out=d)
                tanh_(s.copy_(c))
                through_sigmoid(torch.mul(d, s, out=e), o, out=do)
                dc += through_tanh(d.mul_(o), s, out=e)
                through_sigmoid(torch.mul(dc, n, out=e), i, out=di)
                through_sigmoid(torch.mul(dc, old, out=e), f, out=df)
                through_tanh(torch.mul(dc, i, out=e), n, out=dn)
                dc *= f
                dU.addmm_(before.t(), da)
                torch.mm(da, Ut, out=back)
        return dg, dU
