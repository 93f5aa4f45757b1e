"""Affine maps of a stack of tasks, whose second derivatives lie in memory as the first do."""

from typing import Any

import torch
from torch import Tensor


def affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """y = x W + b.

    Args:
        bias: b, `[1, out]`, or `[M, 1, out]` for a stack.
        x: `[N, in]`, or `[M, N, in]`.
        weight: W, `[in, out]`, or `[M, in, out]`.

    Returns:
        `[N, out]`, or `[M, N, out]`.
    """
    if x.dim() == 2:
        return torch.addmm(bias, x, weight)
    if not torch.is_grad_enabled():
        return torch.bmm(x, weight).add_(bias)  # baddbmm would first copy b to every row
    y: Tensor = Affine.apply(bias, x, weight)  # type: ignore[no-untyped-call]
    return y


class Affine(torch.autograd.Function):
    """y = x W + b,        ∂b = Σₙ ∂yₙ,    ∂x = ∂y Wᵀ,    ∂W = xᵀ ∂y."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.baddbmm(bias, x, weight)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        dx = torch.bmm(dy, weight.mT) if ctx.needs_input_grad[1] else None
        return dy.sum(1, keepdim=True), dx, SumOfOuterProducts.apply(x, dy)  # type: ignore[no-untyped-call]


class SumOfOuterProducts(torch.autograd.Function):
    """P = xᵀ y,        ∂x = y ∂Pᵀ,    ∂y = x ∂P.

    Autograd's own ∂x is (∂P yᵀ)ᵀ: the same numbers, transposed in memory, over which all later passes stumble.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return torch.bmm(x.mT, y)

    @staticmethod
    def backward(ctx: Any, dP: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        needs_x, needs_y = ctx.needs_input_grad
        return torch.bmm(y, dP.mT) if needs_x else None, torch.bmm(x, dP) if needs_y else None
