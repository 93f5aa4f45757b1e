"""Tanh networks of a stack of tasks, with hand-written first and second derivatives.

A meta-gradient through an adaptation step differentiates a network's derivative once more. Autograd would traverse
whole activations, which fit into no cache, once per operation; here all operations run on a few tasks at a time.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl_run.maths.parallel import divisible, in_parallel, traced
from metarl_run.network.affine import NARROW, affine, by_columns, outer
from metarl_run.network.product import baddbmm, baddbmm_, bmm
from metarl_run.network.tanh import one_minus_twice_, tanh

CACHED = 2**18
"""Elements of one activation at a time, which fit into a core's L2 cache; 2¹⁷ take 1.03 times as long."""

ROLLED_OUT = 2**17
"""Elements of one activation for each thread where there is no graph; one thread takes 1.06 times as long by blocks."""

Maybe = Tensor | None
Stacks = Sequence[Any]
"""Tensors of a few tasks, or None, by layer."""


def tanh_network(x: Tensor, biases: Sequence[Tensor], weights: Sequence[Tensor], *, linear: bool) -> Tensor:
    """y_L of yₗ = tanh(yₗ₋₁ Wₗ + bₗ), y₀ = x.

    Args:
        x: `[N, in]`, or `[M, N, in]` for a stack.
        biases: bₗ, `[1, out]`, or `[M, 1, out]`.
        weights: Wₗ, `[in, out]`, or `[M, in, out]`.
        linear: the last layer is without tanh.

    Returns:
        `[N, out]`, or `[M, N, out]`.
    """
    if x.dim() == 2:
        biases, weights = ([one.unsqueeze(0) for one in stack] for stack in (biases, weights))
        return tanh_network(x.unsqueeze(0), biases, weights, linear=linear).squeeze(0)
    if torch.is_grad_enabled():
        y: Tensor = Forward.apply(linear, x, *biases, *weights)[-1]  # type: ignore[no-untyped-call]
        return y
    hidden, L, scaled = len(weights) - linear, len(weights), not traced()

    def up(x: Tensor, *layers: Tensor) -> Tensor:
        bs, Ws = layers[:L], layers[L:]
        for b, W in zip(bs[:hidden], Ws[:hidden], strict=True):
            x = one_minus_twice_(baddbmm(b, x, W, beta=-2, alpha=-2).sigmoid()) if scaled else tanh(baddbmm(b, x, W))
        return affine(bs[-1], x, Ws[-1]) if linear else x

    most = x.shape[1] * max(W.shape[2] for W in weights)
    if len(x) * most <= ROLLED_OUT or not divisible(x):
        return up(x, *biases, *weights)
    tasks = max(ROLLED_OUT // most, 1)
    stacks = (torch.split(stack.expand(len(x), -1, -1), tasks) for stack in (x, *biases, *weights))
    return torch.cat(in_parallel(up, zip(*stacks, strict=True)))


class Forward(torch.autograd.Function):
    """(y₁, …, y_L). Besides the network only `Back` uses the hidden ones, so their derivatives are summed here."""

    @staticmethod
    def forward(ctx: Any, linear: bool, x: Tensor, *layers: Tensor) -> tuple[Tensor, ...]:
        biases, weights = halves(layers)
        ys = [x.new_empty(*x.shape[:2], W.shape[2]) for W in weights]

        def up(u: Stacks, bs: Stacks, Ws: Stacks, outs: Stacks) -> None:
            y = u[0]
            for k, (b, W, out) in enumerate(zip(bs, Ws, outs, strict=True)):
                if linear and k == len(Ws) - 1:
                    bmm(y, by_columns(W), out=out).add_(b)
                else:
                    one_minus_twice_(baddbmm(b, y, W, beta=-2, alpha=-2, out=out).sigmoid_())
                y = out

        in_parallel(up, blocks([x], biases, weights, ys))
        ctx.save_for_backward(x, *weights, *ys)
        ctx.set_materialize_grads(False)
        ctx.linear = linear
        return tuple(ys)

    @staticmethod
    def backward(ctx: Any, *dys: Maybe) -> tuple[Maybe, ...]:
        x, *rest = ctx.saved_tensors
        weights, ys = halves(rest)
        last = torch.zeros_like(ys[-1]) if dys[-1] is None else dys[-1]
        needs_dx = ctx.needs_input_grad[1]
        found = Back.apply(ctx.linear, needs_dx, x, *weights, *ys, *dys[:-1], last)  # type: ignore[no-untyped-call]
        return None, *found


class Back(torch.autograd.Function):
    """Backward through the layers, adding the derivatives by hidden activations from elsewhere:

        v_L = ∂y_L,    aₗ = (1 − yₗ²) vₗ,    ∂bₗ = Σₙ aₗₙ,    ∂Wₗ = yₗ₋₁ᵀ aₗ,    vₗ₋₁ = aₗ Wₗᵀ + ∂yₗ₋₁,    ∂x = v₀
    """  # fmt: skip

    @staticmethod
    def forward(ctx: Any, linear: bool, needs_dx: bool, x: Tensor, *rest: Maybe) -> tuple[Maybe, ...]:
        weights, ys, dys = thirds(rest)
        dbs = [W.new_empty(len(W), 1, W.shape[2]) for W in weights]
        dWs = [torch.empty_like(W) for W in weights]
        again = any(ctx.needs_input_grad)
        vs = [torch.empty_like(x) if needs_dx else None, *(torch.empty_like(y) if again else None for y in ys[:-1])]

        def down(u: Stacks, Ws: Stacks, hs: Stacks, to_bs: Stacks, to_Ws: Stacks, *outs: Stacks) -> None:
            to_vs, extras = outs
            v = extras[-1]
            for k in reversed(range(len(Ws))):
                below, W = (hs[k - 1] if k else u[0]), Ws[k]
                a = v if linear and k == len(Ws) - 1 else torch.ops.aten.tanh_backward(v, hs[k])
                torch.sum(a, 1, keepdim=True, out=to_bs[k])
                outer(below, a, out=to_Ws[k])
                if k or needs_dx:
                    v = torch.empty_like(below) if to_vs[k] is None else to_vs[k]
                    if k and extras[k - 1] is not None:
                        baddbmm(extras[k - 1], a, W.mT, out=v)
                    else:
                        bmm(a, W.mT, out=v)

        in_parallel(down, blocks([x], weights, ys, dbs, dWs, vs, dys))
        ctx.save_for_backward(x, *rest, *vs)
        ctx.linear, ctx.needs_dx = linear, needs_dx
        return vs[0], *dbs, *dWs

    @staticmethod
    def backward(ctx: Any, ξ: Maybe, *rest: Tensor) -> tuple[Maybe, ...]:
        """Cotangents of x, W, y and ∂y, given those of ∂x, ∂b and ∂W; up the layers:

        v̄₀ = ξ,    āₗ = βₗ + yₗ₋₁ Ωₗ + v̄ₗ₋₁ Wₗ,    v̄ₗ = (1 − yₗ²) āₗ,
        W̄ₗ = v̄ₗ₋₁ᵀ aₗ,    ȳₗ = −2 yₗ vₗ āₗ + aₗ₊₁ Ωₗ₊₁ᵀ,    ∂ȳₗ = v̄ₗ
        """
        βs, Ωs = halves(rest)
        x, *saved = ctx.saved_tensors
        L = len(βs)
        weights, ys, dys, vs = (saved[i * L : (i + 1) * L] for i in range(4))
        if torch.is_grad_enabled():
            return through(ctx, x, weights, ys, dys, ξ, rest)
        needs_x = ctx.needs_input_grad[2]
        to_x = torch.empty_like(x) if needs_x else None
        to_Ws = [None if k == 0 and ξ is None else torch.empty_like(W) for k, W in enumerate(weights)]
        to_ys = [None if ctx.linear and k == L - 1 else torch.empty_like(y) for k, y in enumerate(ys)]
        to_dys = [None if dy is None else torch.empty_like(dy) for dy in dys]
        stacks = ([x, ξ, to_x], weights, ys, [*vs[1:], dys[-1]], βs, Ωs, to_Ws, to_ys, to_dys)

        def up(inputs: Stacks, Ws: Stacks, hs: Stacks, all_v: Stacks, κs: Stacks, Λs: Stacks, *outs: Stacks) -> None:
            (u, ζ, to_u), (outs_W, outs_y, outs_dy) = inputs, outs
            for k, (W, h, v, κ, Λ) in enumerate(zip(Ws, hs, all_v, κs, Λs, strict=True)):
                straight = ctx.linear and k == L - 1
                below, to_below = (hs[k - 1], outs_y[k - 1]) if k else (u, to_u)
                a = v if straight else torch.ops.aten.tanh_backward(v, h)
                if k:
                    baddbmm_(to_below, a, Λ.mT)
                elif needs_x:
                    bmm(a, Λ.mT, out=to_below)
                ā = bmm(below, by_columns(Λ)).add_(κ) if W.shape[2] < NARROW else baddbmm(κ, below, Λ)
                if ζ is not None:
                    outer(ζ, a, out=outs_W[k])
                    baddbmm_(ā, ζ, by_columns(W))
                if not straight:
                    torch.mul(ā, v, out=outs_y[k]).mul_(h).mul_(-2)
                    torch.ops.aten.tanh_backward.grad_input(ā, h, grad_input=ā)
                ζ = ā
                if outs_dy[k] is not None:
                    outs_dy[k].copy_(ζ)

        in_parallel(up, blocks(*stacks))
        return None, None, to_x, *to_Ws, *to_ys, *to_dys


def through(
    ctx: Any, x: Tensor, weights: list[Tensor], ys: list[Tensor], dys: list[Maybe], ξ: Maybe, rest: tuple[Tensor, ...]
) -> tuple[Maybe, ...]:
    """The result of `Back.backward` with a graph: autograd's derivative of the computation of `Back`."""
    inputs = [None if one is None else one.view_as(one) for one in (x, *weights, *ys, *dys)]
    below, *others = inputs
    Ws, hs, extras = thirds(others)
    dbs: list[Tensor] = []
    dWs: list[Tensor] = []
    v = extras[-1]
    for k in reversed(range(len(Ws))):
        a = v if ctx.linear and k == len(Ws) - 1 else torch.ops.aten.tanh_backward(v, hs[k])
        dbs.insert(0, a.sum(1, keepdim=True))
        under: Any = hs[k - 1] if k else below
        dWs.insert(0, bmm(under.mT, a))
        v = bmm(a, Ws[k].mT)
        if k and extras[k - 1] is not None:
            v = v + extras[k - 1]
    outputs, cotangents = [*dbs, *dWs], list(rest)
    if ξ is not None:
        outputs, cotangents = [*outputs, v], [*cotangents, ξ]
    wanted = [one for one in inputs if one is not None and one.requires_grad]
    found = iter(torch.autograd.grad(outputs, wanted, cotangents, create_graph=True, allow_unused=True))
    return None, None, *(next(found) if one is not None and one.requires_grad else None for one in inputs)


def halves(of: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    middle = len(of) // 2
    return list(of[:middle]), list(of[middle:])


def thirds(of: Sequence[Any]) -> list[list[Any]]:
    third = len(of) // 3
    return [list(of[i * third : (i + 1) * third]) for i in range(3)]


def blocks(*lists: Sequence[Maybe]) -> Iterator[tuple[list[Any], ...]]:
    """A few tasks of every stack of each list at a time; None stays None."""
    stacks = [stack for one in lists for stack in one if stack is not None]
    M, *one = max(stacks, key=Tensor.numel).shape
    size = max(CACHED // math.prod(one), 1) if stacks[0].device.type == "cpu" else M
    times = -(-M // size)

    def pieces(stack: Maybe) -> Iterable[Maybe]:
        return [None] * times if stack is None else torch.split(stack, size)

    return zip(*(zip(*map(pieces, one), strict=True) for one in lists), strict=True)
