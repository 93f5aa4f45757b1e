"""Affine maps of a stack of tasks, whose second derivatives have the memory layout of the first."""

from typing import Any

import torch
from torch import Tensor

from metarl_run.network.product import matmul

NARROW = 12
"""Products with fewer columns are slow in MKL on an AMD EPYC unless their second factor is column-major: five times as
slow for 40 × 2000 rows from 64 to 2."""


def affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """y = x W + b.

    Args:
        bias: b, `[1, out]`, or `[M, 1, out]` for a stack; or one per row, with N in place of 1.
        x: `[N, in]`, or `[M, N, in]`.
        weight: W, `[in, out]`, or `[M, in, out]`.

    Returns:
        `[N, out]`, or `[M, N, out]`.
    """
    if not torch.is_grad_enabled():
        if x.dim() == 3 and weight.shape[-1] < NARROW:
            return torch.baddbmm(bias.mT, weight.mT.contiguous(), x.mT).mT.contiguous()
        return matmul(x, by_columns(weight)).add_(bias)  # baddbmm would first copy b to every row
    y: Tensor = Affine.apply(bias, x, weight)  # type: ignore[no-untyped-call]
    return y


class Affine(torch.autograd.Function):
    """y = x W + b,        ∂b = Σₙ ∂yₙ,    ∂x = ∂y Wᵀ,    ∂W = xᵀ ∂y."""

    @staticmethod
    def forward(ctx: Any, bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.one_bias = bias.shape[-2] == 1
        return matmul(x, by_columns(weight)).add_(bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        dx = matmul(dy, weight.mT) if ctx.needs_input_grad[1] else None
        db = dy.sum(-2, keepdim=True) if ctx.one_bias else dy
        return db, dx, SumOfOuterProducts.apply(x, dy)  # type: ignore[no-untyped-call]


class SumOfOuterProducts(torch.autograd.Function):
    """P = xᵀ y,        ∂x = y ∂Pᵀ,    ∂y = x ∂P.

    Autograd's own ∂x is (∂P yᵀ)ᵀ: the same values in a transposed layout, which slows all later passes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        P = x.new_empty(*x.shape[:-2], x.shape[-1], y.shape[-1])
        return outer(x, y, out=P)

    @staticmethod
    def backward(ctx: Any, dP: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        needs_x, needs_y = ctx.needs_input_grad
        return matmul(y, dP.mT) if needs_x else None, matmul(x, by_columns(dP)) if needs_y else None


def outer(x: Tensor, y: Tensor, *, out: Tensor) -> Tensor:
    """xᵀ y, written into `out`."""
    if y.shape[-1] < NARROW:
        return out.copy_(matmul(y.mT, x).mT)
    return matmul(x.mT, y, out=out)


def by_columns(factor: Tensor) -> Tensor:
    """The second factor of a product in the layout that is fastest."""
    return factor.mT.contiguous().mT if 1 < factor.shape[-1] < NARROW else factor
