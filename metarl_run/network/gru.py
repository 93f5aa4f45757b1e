"""Gated recurrent units."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.maths.parallel import in_parallel
from metarl_run.network.by_rows import sum_in_order
from metarl_run.network.product import addmm_, mm
from metarl_run.network.recurrent import Recurrent, Weights, blocks, steps, through_sigmoid, through_tanh
from metarl_run.network.tanh import tanh
from metarl_run.types import Memory, Params


class GRU(Recurrent):
    """A memory of H units, which an update gate keeps or overwrites.

        (i_r, i_z, i_n) = x W + b,        (m_r, m_z, m_n) = h U
        r = σ(i_r + m_r),    z = σ(i_z + m_z),    n = tanh(i_n + r (m_n + c)),    h′ = (1 − z) n + z h

    Differs from the paper: r gates h U instead of h, so that one product with h suffices (Appleyard et al. 2016,
    arXiv:1604.01946).
    Source: Cho et al. (2014), arXiv:1406.1078.
    """

    gates: ClassVar[int] = 3

    def init(self, generator: torch.Generator) -> Params:
        return {**super().init(generator), "memory.bias": torch.zeros(1, self.hidden, device=generator.device)}

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        return {"h": params["memory.bias"].new_zeros(num_tasks, 1, self.hidden)}

    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        h, H = state["h"], self.hidden
        m = mm(h, params["memory.weight"])
        r, z = (m[:, : 2 * H] + g[:, : 2 * H]).sigmoid().chunk(2, -1)
        n = tanh(torch.addcmul(g[:, 2 * H :], r, m[:, 2 * H :] + params["memory.bias"]))
        return {"h": torch.lerp(n, h, z)}

    def scan(
        self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D PGH"], W_head: Float[Tensor, "H P"]
    ) -> Float[Tensor, "T N P"]:
        U_rz, U_n = params["memory.weight"].tensor_split([2 * self.hidden], -1)
        U = torch.cat([U_n, W_head, U_rz], -1)
        y: Tensor = Scan.apply(x, W, U, params["memory.bias"])  # type: ignore[no-untyped-call]
        return y


class Scan(torch.autograd.Function):
    """y₁ … y_T from x₁ … x_T and h₀ = 0, with a hand-written derivative.

        (v, i_r, i_z, i_n) = x W,        (m_n, y − v, m_r, m_z) = h U        of one step; m is for the next

    Autograd would record and traverse a dozen operations per step. Here a forward step is a product with W and one with
    U, a backward step two of each, plus a few passes over cached tensors. The columns of W and U are ordered so that
    both derivatives share memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, U: Tensor, c: Tensor) -> Tensor:
        (T, N, _), H, P = x.shape, len(U), U.shape[1] - 3 * len(U)
        y, h, inner = (x.new_empty(T, N, size) for size in (P, H, H))  # inner: m_n + c
        gate = x.new_empty(T, N, 3 * H + P)  # r, z, n of every step, and v
        one, W_rz = x.new_ones(()), W[:, P : P + 2 * H]
        W_nv = torch.cat([-2 * W[:, P + 2 * H :], W[:, :P]], -1)

        def forwards(xs: Tensor, gates: Tensor, *written: Tensor) -> None:
            m = torch.zeros_like(gates[0])
            m_n, head, m_rz = torch.split(m, [H, P, 2 * H], -1)
            before = torch.zeros_like(m_n)
            wide, narrow = (U, m), (U[:, H : H + P], head)
            left = T
            of_steps = steps(xs, *written, *torch.split(gates, [2 * H, H + P], -1), *parts(gates, H))
            for u, out, into, of, rz, nv, r, z, n, v in of_steps:
                left -= 1
                torch.sigmoid(addmm_(m_rz, u, W_rz), out=rz)
                mm(u, W_nv, out=nv)
                n.addcmul_(r, torch.add(m_n, c, out=of), value=-2).sigmoid_()  # σ(−2 a): tanh a = 1 − 2 σ(−2 a)
                before = torch.lerp(torch.sub(one, n, alpha=2, out=n), before, z, out=into)
                weight, product = wide if left else narrow  # only heads read the last memory
                mm(before, weight, out=product)
                torch.add(v, head, out=out)

        in_parallel(forwards, blocks(H, x, gate, y, h, inner))
        ctx.save_for_backward(x, W, U, gate, h, inner)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, W, U, gate, h, inner = ctx.saved_tensors
        H, P, Ut, Wt = len(U), dy.shape[-1], U.t().contiguous(), W.t()
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None

        def backwards(gates: Tensor, hs: Tensor, dys: Tensor, xs: Tensor, inners: Tensor, to_xs: Tensor) -> Weights:
            dW, dU, dc = torch.zeros_like(W), torch.zeros_like(U), U.new_zeros(1, H)
            N = gates.shape[1]
            d, e, q = (h.new_zeros(N, H) for _ in range(3))  # d: what reaches hₜ, q = (1 − z) d
            both = h.new_empty(N, H + P + 3 * H)
            dm, di = both[:, : 3 * H + P], both[:, H:]
            dm_n, to_head, dr, dz, dn = torch.split(both, [H, P, H, H, H], -1)
            sums = h.new_ones(1, N)  # a product sums rows faster than `sum`
            back, weight, to_U = to_head, Ut[H : H + P], dU[:, H : H + P]  # only heads read the last memory
            gate_now = torch.empty_like(gates[0])  # one sequential copy brings it into the cache
            r, z, n, _ = parts(gate_now, H)
            for i, now, now_t, from_y, u_t, of, to_x in reversed(
                list(steps(gates, hs, hs.mT, dys, xs.mT, inners, to_xs))
            ):
                gate_now.copy_(i)
                to_head.copy_(from_y)
                addmm_(d, back, weight)
                addmm_(to_U, now_t, back)
                torch.addcmul(d, d, z, value=-1, out=q)
                d.sub_(q)
                torch.mul(torch.sub(now, n, out=e), q, out=dz)  # (hₜ₋₁ − n) z = hₜ − n
                through_tanh(q, n, out=dn)
                through_sigmoid(torch.mul(dn, of, out=e), r, out=dr)
                addmm_(dc, sums, torch.mul(dn, r, out=dm_n))
                addmm_(dW, u_t, di)
                if dx is not None:
                    mm(di, Wt, out=to_x)
                back, weight, to_U = dm, Ut, dU
            return dW, dU, dc

        of_blocks = in_parallel(backwards, blocks(H, gate, h, dy, x, inner, x if dx is None else dx))
        return dx, *map(sum_in_order, zip(*of_blocks, strict=True))


def parts(gate: Tensor, H: int) -> Sequence[Tensor]:
    """r, z, n and v."""
    return torch.split(gate, [H, H, H, gate.shape[-1] - 3 * H], -1)
