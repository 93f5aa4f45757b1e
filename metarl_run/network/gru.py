"""Gated recurrent units."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.kinds import Count, checked
from metarl_run.network.recurrent import Recurrent, blocks, through_sigmoid, through_tanh
from metarl_run.network.tanh_layer import tanh_
from metarl_run.types import Memory, Params


class GRU(Recurrent):
    """A memory of H units that an update gate keeps or overwrites.

        (i_r, i_z, i_n) = x W + b,        (m_r, m_z, m_n) = h U
        r = σ(i_r + m_r),    z = σ(i_z + m_z),    n = tanh(i_n + r (m_n + c)),    h′ = (1 − z) n + z h

    Args:
        num_inputs: D, features of the input.
        heads: outputs of each head.
        hidden: H, units of the memory.

    Differs from the paper: r gates h U, not h, which takes one product with h instead of two (Appleyard et al. 2016,
    arXiv:1604.01946, Eq. 2).
    Source: Cho et al. (2014), arXiv:1406.1078, Eq. 5–8.
    """

    gates: ClassVar[int] = 3

    @checked
    def __init__(self, *, num_inputs: int, heads: Mapping[str, int], hidden: Count) -> None:
        super().__init__(num_inputs, heads, hidden)

    def init(self, generator: torch.Generator) -> Params:
        return {**super().init(generator), "memory.bias": torch.zeros(1, self.hidden, device=generator.device)}

    def blank(self, params: Params, num_tasks: int) -> Memory:
        return {"h": params["memory.bias"].new_zeros(num_tasks, 1, self.hidden)}

    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        h, H = state["h"], self.hidden
        m = h @ params["memory.weight"]
        r, z = m[:, : 2 * H].add_(g[:, : 2 * H]).sigmoid_().chunk(2, -1)
        n = tanh_(torch.addcmul(g[:, 2 * H :], r, m[:, 2 * H :] + params["memory.bias"]))
        return {"h": torch.lerp(n, h, z)}

    def scan(self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D GH"]) -> Float[Tensor, "T N H"]:
        h: Tensor = Scan.apply(x, W, params["memory.weight"], params["memory.bias"])  # type: ignore[no-untyped-call]
        return h


class Scan(torch.autograd.Function):
    """h₁ … h_T from x₁ … x_T and h₀ = 0, with the derivative written out.

    Autograd would keep and walk a dozen operations per step. Here a step is a product with W and one with U, a step
    backwards two of each, and a few passes over what the cache holds.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, U: Tensor, c: Tensor) -> Tensor:
        T, N, H = *x.shape[:2], len(U)
        h, inner = (x.new_empty(T, N, H) for _ in range(2))  # inner: m_n + c
        gate = x.new_empty(T, N, 3 * H)  # r, z, n of every step
        for block in blocks(H, x, gate, inner, h):
            before = torch.zeros_like(block[-1][0])
            m = torch.empty_like(block[1][0])
            m_rz, m_n = m[:, : 2 * H], m[:, 2 * H :]
            for now, i, of, into in zip(*(x.unbind(0) for x in block), strict=True):
                torch.mm(now, W, out=i)
                torch.mm(before, U, out=m)
                rz, n = i[:, : 2 * H].add_(m_rz).sigmoid_(), i[:, 2 * H :]
                tanh_(n.addcmul_(rz[:, :H], torch.add(m_n, c, out=of)))
                before = torch.lerp(n, before, rz[:, H:], out=into)
        ctx.save_for_backward(x, W, U, h, gate, inner)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        x, W, U, h, gate, inner = ctx.saved_tensors
        H, Ut, Wt = len(U), U.t().contiguous(), W.t()
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dW, dU, dc = torch.zeros_like(W), torch.zeros_like(U), U.new_zeros(1, H)
        for block in blocks(H, dh, h, x, gate, inner, x if dx is None else dx):
            dhs, hs, *others = (x.unbind(0) for x in block)
            blank, back = (torch.zeros_like(hs[0]) for _ in range(2))  # h₀, and what reaches hₜ from later steps
            d, e = torch.empty_like(blank), torch.empty_like(blank)
            di, dm = (torch.empty_like(others[1][0]) for _ in range(2))
            dr, dz, dn = di.chunk(3, -1)
            sums = blank.new_ones(1, len(blank))  # a product adds up rows faster than a sum does
            steps = list(zip(dhs, (blank, *hs[:-1]), *others, strict=True))
            for now, before, u, i, of, to_x in reversed(steps):
                r, z, n = i.chunk(3, -1)
                torch.add(now, back, out=d)
                through_sigmoid(torch.sub(before, n, out=e).mul_(d), z, out=dz)
                through_tanh(torch.addcmul(d, d, z, value=-1, out=e), n, out=dn)
                through_sigmoid(torch.mul(dn, of, out=e), r, out=dr)
                dm[:, : 2 * H] = di[:, : 2 * H]
                dc.addmm_(sums, torch.mul(dn, r, out=dm[:, 2 * H :]))
                dU.addmm_(before.t(), dm)
                dW.addmm_(u.t(), di)
                if dx is not None:
                    torch.mm(di, Wt, out=to_x)
                torch.addmm(d.mul_(z), dm, Ut, out=back)
        return dx, dW, dU, dc
