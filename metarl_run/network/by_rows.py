"""A few rows of the input at a time, on as many threads as there are."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from metarl_run.maths.parallel import in_parallel

Function = Callable[..., tuple[Tensor, ...]]
"""(x, *θ) → outputs, each with the rows of x."""


def by_rows(function: Function, size: int, x: Tensor, θ: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """function(x, *θ), of `size` rows of x at a time; has first derivatives alone if that is not all of them."""
    if size >= len(x):
        return function(x, *θ)
    y: tuple[Tensor, ...] = ByRows.apply(function, size, x, *θ)  # type: ignore[no-untyped-call]
    return y


class ByRows(torch.autograd.Function):
    """A graph of its own for each block of rows; derivatives by θ are sums over blocks, in their order."""

    @staticmethod
    def forward(ctx: Any, function: Function, size: int, x: Tensor, *θ: Tensor) -> tuple[Tensor, ...]:
        needed = ctx.needs_input_grad[2:]

        def forwards(x: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
            inputs = [one.detach().requires_grad_(need) for one, need in zip((x, *θ), needed, strict=True)]
            with torch.set_grad_enabled(any(needed)):
                return inputs, function(*inputs)

        blocks = in_parallel(forwards, ((rows,) for rows in torch.split(x, size)))
        ctx.size, ctx.blocks = size, blocks if any(needed) else None
        return tuple(torch.cat([y.detach() for y in of]) for of in zip(*(ys for _, ys in blocks), strict=True))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *dys: Tensor) -> tuple[Tensor | None, ...]:
        needs_x, *needed = ctx.needs_input_grad[2:]

        def backwards(inputs: list[Tensor], ys: tuple[Tensor, ...], *dys: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(ys, [one for one in inputs if one.requires_grad], dys, materialize_grads=True)

        rows = zip(*(torch.split(dy, ctx.size) for dy in dys), strict=True)
        of_blocks = in_parallel(backwards, [(*block, *dy) for block, dy in zip(ctx.blocks, rows, strict=True)])
        of_inputs = zip(*of_blocks, strict=True)
        dx = torch.cat(next(of_inputs)) if needs_x else None
        dθ = (sum_in_order(next(of_inputs)) if need else None for need in needed)
        return None, None, dx, *dθ


def sum_in_order(terms: Sequence[Tensor]) -> Tensor:
    """The sum of some terms, which may be written over, in the order that they have whatever thread computed which."""
    first, *others = terms
    for other in others:
        first += other
    return first
