"""Long short-term memory."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.maths.parallel import in_parallel
from metarl_run.network.by_rows import sum_in_order
from metarl_run.network.product import addmm_, mm
from metarl_run.network.recurrent import Recurrent, Weights, blocks, steps, through_sigmoid, through_tanh
from metarl_run.network.tanh import tanh, tanh_
from metarl_run.types import Memory, Params


class LSTM(Recurrent):
    """A memory of H cells with input, forget and output gates.

        (i, f, o, n) = x W + b + h U
        c′ = σ(f) c + σ(i) tanh(n),        h′ = σ(o) tanh(c′)

    The bias of f starts at 1, so that cells initially keep their content.

    Source: Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000), "Learning to Forget", for the gate
    f; Jozefowicz, Zaremba and Sutskever (2015), for its bias.
    """

    gates: ClassVar[int] = 4

    def init(self, generator: torch.Generator) -> Params:
        params = super().init(generator)
        params["input.bias"][:, self.hidden : 2 * self.hidden] = 1
        return params

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        zeros = params["memory.weight"].new_zeros(num_tasks, 1, self.hidden)
        return {"h": zeros, "c": zeros}

    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        H = self.hidden
        m = g + mm(state["h"], params["memory.weight"])
        i, f, o = m[:, : 3 * H].sigmoid().chunk(3, -1)
        c = torch.addcmul(f * state["c"], i, tanh(m[:, 3 * H :]))
        return {"h": o * tanh(c), "c": c}

    def scan(
        self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D PGH"], W_head: Float[Tensor, "H P"]
    ) -> Float[Tensor, "T N P"]:
        U = torch.cat([W_head, params["memory.weight"]], -1)
        y: Tensor = Scan.apply(x, W, U)  # type: ignore[no-untyped-call]
        return y


class Scan(torch.autograd.Function):
    """y₁ … y_T from x₁ … x_T and h₀ = c₀ = 0, with a hand-written derivative as in `metarl_run.network.gru`.

    (v, g_i, g_f, g_o, g_n) = x W,        (y − v, m_i, m_f, m_o, m_n) = h U        of one step; m is for the next
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, U: Tensor) -> Tensor:
        (T, N, _), H, P = x.shape, len(U), U.shape[1] - 4 * len(U)
        y, h, cell = (x.new_empty(T, N, size) for size in (P, H, H))  # cell: c
        gate = x.new_empty(T, N, P + 4 * H)  # v, and σ(i), σ(f), σ(o), tanh(n) of every step
        one, scaled_W, scaled_U = x.new_ones(()), W.clone(), U.clone()
        for weight in (scaled_W, scaled_U):
            weight[:, P + 3 * H :] *= -2  # tanh a = 1 − 2 σ(−2 a)

        def forwards(xs: Tensor, gates: Tensor, *written: Tensor) -> None:
            m = torch.zeros_like(gates[0])
            head, m_gates = torch.split(m, [P, 4 * H], -1)
            old = torch.zeros_like(written[2][0])
            wide, narrow = (scaled_U, m), (U[:, :P], head)
            left = T
            of_steps = steps(xs, gates, gates[..., P:], *written, *parts(gates, H))
            for u, a, ifon, out, into, c, v, i, f, o, n in of_steps:
                left -= 1
                mm(u, scaled_W, out=a)
                ifon.add_(m_gates).sigmoid_()
                old = torch.mul(f, old, out=c).addcmul_(i, torch.sub(one, n, alpha=2, out=n))
                weight, product = wide if left else narrow  # only heads read the last memory
                mm(tanh_(into.copy_(c)).mul_(o), weight, out=product)
                torch.add(v, head, out=out)

        in_parallel(forwards, blocks(H, x, gate, y, h, cell))
        ctx.save_for_backward(x, W, U, gate, h, cell)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, W, U, gate, h, cell = ctx.saved_tensors
        H, P, Ut, Wt = len(U), dy.shape[-1], U.t().contiguous(), W.t()
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None

        def backwards(gates: Tensor, hs: Tensor, cells: Tensor, dys: Tensor, xs: Tensor, to_xs: Tensor) -> Weights:
            dW, dU = torch.zeros_like(W), torch.zeros_like(U)
            c_0, d, e, s, dc = (h.new_zeros(hs.shape[1:]) for _ in range(5))  # d, dc: derivatives by hₜ and cₜ
            da = torch.empty_like(gates[0])
            to_head, di, df, do, dn = parts(da, H)
            back, weight, to_U = to_head, Ut[:P], dU[:, :P]  # only heads read the last memory
            olds = (c_0, *cells.unbind(0)[:-1])
            of_steps = zip(olds, steps(cells, hs.mT, dys, xs.mT, to_xs, *parts(gates, H)[1:]), strict=True)
            for old, (c, now_t, from_y, u_t, to_x, i, f, o, n) in reversed(list(of_steps)):
                to_head.copy_(from_y)
                mm(back, weight, out=d)
                addmm_(to_U, now_t, back)
                tanh_(s.copy_(c))
                through_sigmoid(torch.mul(d, s, out=e), o, out=do)
                dc += through_tanh(d.mul_(o), s, out=e)
                through_sigmoid(torch.mul(dc, n, out=e), i, out=di)
                through_sigmoid(torch.mul(dc, old, out=e), f, out=df)
                through_tanh(torch.mul(dc, i, out=e), n, out=dn)
                dc *= f
                addmm_(dW, u_t, da)
                if dx is not None:
                    mm(da, Wt, out=to_x)
                back, weight, to_U = da, Ut, dU
            return dW, dU

        of_blocks = in_parallel(backwards, blocks(H, gate, h, cell, dy, x, x if dx is None else dx))
        return dx, *map(sum_in_order, zip(*of_blocks, strict=True))


def parts(gate: Tensor, H: int) -> Sequence[Tensor]:
    """v, i, f, o and n."""
    return torch.split(gate, [gate.shape[-1] - 4 * H, H, H, H, H], -1)
