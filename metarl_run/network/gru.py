"""Gated recurrent units."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.kinds import Count, checked
from metarl_run.network.recurrent import Recurrent
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
        r, z = (g[:, : 2 * H] + m[:, : 2 * H]).sigmoid().chunk(2, -1)
        n = torch.addcmul(g[:, 2 * H :], r, m[:, 2 * H :] + params["memory.bias"]).tanh()
        return {"h": torch.lerp(n, h, z)}

    def scan(self, params: Params, g: Float[Tensor, "T N GH"]) -> Float[Tensor, "T N H"]:
        h: Tensor = Scan.apply(g, params["memory.weight"], params["memory.bias"])  # type: ignore[no-untyped-call]
        return h


class Scan(torch.autograd.Function):
    """h₁ … h_T from g₁ … g_T and h₀ = 0, with the derivative written out.

    Autograd would keep and walk a dozen operations per step. Here a step backwards is one product, and the products
    that make ∂U are one for all steps together.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, U: Tensor, c: Tensor) -> Tensor:
        T, N, H = *g.shape[:2], len(U)
        h = g.new_empty(T, N, H)
        gate = torch.empty_like(g)  # r, z, n of every step
        inner = torch.empty_like(h)  # m_n + c
        m = g.new_empty(N, 3 * H)
        before = g.new_zeros(N, H)
        for now, i, of, into in zip(g.unbind(0), gate.unbind(0), inner.unbind(0), h.unbind(0), strict=True):
            torch.mm(before, U, out=m)
            rz = torch.add(now[:, : 2 * H], m[:, : 2 * H], out=i[:, : 2 * H]).sigmoid_()
            torch.add(m[:, 2 * H :], c, out=of)
            n = torch.addcmul(now[:, 2 * H :], rz[:, :H], of, out=i[:, 2 * H :]).tanh_()
            before = torch.lerp(n, before, rz[:, H:], out=into)
        ctx.save_for_backward(U, h, gate, inner)
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        U, h, gate, inner = ctx.saved_tensors
        T, N, H = h.shape
        dg = torch.empty_like(gate)  # ∂ of i_r, i_z, i_n
        dm = torch.empty_like(gate)  # ∂ of m_r, m_z, m_n
        Ut = U.t().contiguous()
        back = dh.new_zeros(N, H)  # what reaches hₜ from later steps
        blank = torch.zeros_like(back)
        for t in range(T - 1, -1, -1):
            (r, z, n), before = gate[t].split(H, -1), h[t - 1] if t else blank
            d = dh[t] + back
            dn = torch.mul(d, 1 - z).mul_(1 - n * n)
            torch.mul(d * (before - n), z * (1 - z), out=dg[t, :, H : 2 * H])
            torch.mul(dn * inner[t], r * (1 - r), out=dg[t, :, :H])
            dg[t, :, 2 * H :] = dn
            dm[t, :, : 2 * H] = dg[t, :, : 2 * H]
            torch.mul(dn, r, out=dm[t, :, 2 * H :])
            back = torch.addmm(d.mul_(z), dm[t], Ut)
        dU = h[:-1].reshape(-1, H).t() @ dm[1:].reshape(-1, 3 * H)  # h₀ = 0 adds nothing
        return dg, dU, dm[:, :, 2 * H :].sum((0, 1)).unsqueeze(0)
