"""Minimal gated recurrent units: gates of the input alone, so that learning needs no step after another."""

from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.maths.parallel import in_parallel, num_threads
from metarl_run.network.recurrent import Recurrent
from metarl_run.types import Memory, Params

CACHED = 2**18
"""Elements of one tensor of a whole sequence of a few lifetimes: the gates and h then fit into a core's L2 cache."""

LONGEST = 99
"""Steps that the memory of a fresh unit lasts, at most: the lifetimes of the papers have a hundred."""


class MinGRU(Recurrent):
    """A memory of H units, which a gate that sees the input alone keeps or overwrites.

        (n, i_z) = x W + b,        z = σ(i_z),        h′ = (1 − z) n + z h

    Since neither z nor n depends on h, those of all steps are one product, and what is left is a linear recurrence of
    numbers. A fresh unit keeps its content for c ~ U(1, 99) steps: its bias of z is log c.

    Differs from the paper: z keeps instead of overwriting, as in `metarl_run.network.gru`; n may be negative, since
    nothing is computed in logarithms.
    Source: Feng et al. (2024), arXiv:2410.01201, section 3.1; Tallec and Ollivier (2018), arXiv:1804.11188, for the
    bias.
    """

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"parameters": (2, "hidden")}
    gates: ClassVar[int] = 2

    def init(self, generator: torch.Generator) -> Params:
        D, H, device = self.num_inputs, self.hidden, generator.device
        bound = (6 / (D + H)) ** 0.5
        weight = torch.empty(D, 2 * H, device=device).uniform_(-bound, bound, generator=generator)
        lasts = torch.empty(1, H, device=device).uniform_(1, LONGEST, generator=generator)
        params = {"input.weight": weight, "input.bias": torch.cat([torch.zeros_like(lasts), lasts.log()], -1)}
        return params | self._fresh_heads(generator)

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        return {"h": params["input.bias"].new_zeros(num_tasks, 1, self.hidden)}

    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        n, i_z = g.chunk(2, -1)
        return {"h": torch.lerp(n, state["h"], i_z.sigmoid())}

    def memories(self, params: Params, x: Float[Tensor, "T N D"]) -> Float[Tensor, "T N H"]:
        h: Tensor = Scan.apply(x, params["input.weight"], params["input.bias"])  # type: ignore[no-untyped-call]
        return h

    def scan(
        self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D PGH"], W_head: Float[Tensor, "H P"]
    ) -> Float[Tensor, "T N P"]:
        V, W = W.tensor_split([W_head.shape[-1]], -1)
        h: Tensor = Scan.apply(x, W, W.new_zeros(1, W.shape[-1]))  # type: ignore[no-untyped-call]
        return h @ W_head + x @ V


class Scan(torch.autograd.Function):
    """h₁ … h_T from x₁ … x_T and h₀ = 0, with a hand-written derivative.

    With d what reaches hₜ from above and from hₜ₊₁, one more recurrence of the same kind, backwards:

        dₜ = ∂hₜ + zₜ₊₁ dₜ₊₁,        ∂nₜ = (1 − zₜ) dₜ,        ∂i_z = zₜ (1 − zₜ) (hₜ₋₁ − nₜ) dₜ

    Both go through a few lifetimes at a time, all steps of them: one product, passes over all steps, and a step of the
    recurrence is one pass over numbers that are in the cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, W: Tensor, b: Tensor) -> Tensor:
        T, N, D = x.shape
        (W_n, W_z), (b_n, b_z) = W.chunk(2, -1), b.chunk(2, -1)
        H = W_n.shape[1]
        h = x.new_empty(T, N, H)

        def forwards(xs: Tensor, hs: Tensor) -> tuple[Tensor, Tensor]:
            rows = xs.reshape(-1, D)
            n = torch.addmm(b_n, rows, W_n).view(T, -1, H)
            z = torch.addmm(b_z, rows, W_z).view(T, -1, H).sigmoid_()
            torch.addcmul(n, n, z, value=-1, out=hs)
            recur_(hs, z)
            return n, z

        gates = in_parallel(forwards, parts(H, x, h))
        ctx.save_for_backward(x, W, h, *(gate for of_part in gates for gate in of_part))
        return h

    @staticmethod
    def backward(ctx: Any, dh: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, W, h, *gates = ctx.saved_tensors
        D = x.shape[-1]
        W_n, W_z = W.chunk(2, -1)
        H = W_n.shape[1]
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        dW, db = torch.zeros_like(W), W.new_zeros(1, 2 * H)

        def backwards(n: Tensor, z: Tensor, xs: Tensor, hs: Tensor, dhs: Tensor, to_x: Tensor) -> tuple[Tensor, ...]:
            d = dhs.clone(memory_format=torch.contiguous_format)
            recur_back_(d, z)
            dn = d.addcmul_(d, z, value=-1)
            dz = torch.sub(hs, n).mul_(dn)  # zₜ (hₜ₋₁ − nₜ) = hₜ − nₜ
            rows, dn, dz = xs.reshape(-1, D), dn.view(-1, H), dz.view(-1, H)
            if dx is not None:
                to_x.copy_(torch.addmm(dn @ W_n.mT, dz, W_z.mT).view_as(xs))
            return rows, dn, dz

        every = zip(
            gates[::2], gates[1::2], *zip(*parts(H, x, h, dh, x if dx is None else dx), strict=True), strict=True
        )
        # The sums over lifetimes, a small part of the work, are in their order whatever the number of threads.
        while together := list(islice(every, num_threads())):
            for rows, dn, dz in in_parallel(backwards, together):
                ones = rows.new_ones(1, len(rows))  # a product sums rows faster than `sum`
                for place, by in ((slice(H), dn), (slice(H, None), dz)):
                    dW[:, place].addmm_(rows.mT, by)
                    db[:, place].addmm_(ones, by)
        return dx, dW, db


def parts(width: int, *tensors: Float[Tensor, "T N _"]) -> Iterator[tuple[Tensor, ...]]:
    """All steps of the same few lifetimes of each tensor at a time."""
    T, N, _ = tensors[0].shape
    size = CACHED // (T * width) if tensors[0].device.type == "cpu" else N
    return zip(*(torch.split(tensor, max(size, 1), 1) for tensor in tensors), strict=True)


def recur_(h: Float[Tensor, "T N H"], z: Float[Tensor, "T N H"]) -> None:
    """hₜ ← hₜ + zₜ hₜ₋₁ for t from 1 on, in place."""
    if h.device.type == "cpu":
        for (before, now), gate in zip(pairwise(h.unbind(0)), z[1:].unbind(0), strict=True):
            now.addcmul_(gate, before)
        return
    doubling_(h, z)


def recur_back_(d: Float[Tensor, "T N H"], z: Float[Tensor, "T N H"]) -> None:
    """dₜ ← dₜ + zₜ₊₁ dₜ₊₁ for t from T − 2 down, in place."""
    if d.device.type == "cpu":
        for (later, now), gate in zip(pairwise(reversed(d.unbind(0))), reversed(z[1:].unbind(0)), strict=True):
            now.addcmul_(gate, later)
        return
    d.copy_(doubling_(d.flip(0), z.roll(-1, 0).flip(0)).flip(0))


def doubling_(h: Float[Tensor, "T N H"], z: Float[Tensor, "T N H"]) -> Float[Tensor, "T N H"]:
    """`recur_` in log₂ T passes over all steps, for devices on which a pass over one step costs as much.

    Source: Hillis and Steele (1986), "Data parallel algorithms".
    """
    distance = 1
    while distance < len(h):
        h[distance:] += z[distance:] * h[:-distance]
        z = torch.cat([z[:distance], z[distance:] * z[:-distance]])
        distance *= 2
    return h
