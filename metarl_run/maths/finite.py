"""Finiteness of tensors, as cheap as their sums."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def all_finite(*tensors: Tensor) -> bool:
    """True if every entry is finite: a sum is finite only if its terms are, but a large one may overflow."""
    if not tensors:
        return True
    sums = [x.sum().to(tensors[0].device) for x in tensors]
    total = torch.stack(sums).sum() if len(sums) > 1 else sums[0]
    return math.isfinite(total.item()) or all(bool(x.isfinite().all()) for x in tensors)


def first_not_finite(x: Tensor, among: Tensor | None = None) -> tuple[tuple[int, ...], float] | None:
    """Index and value of the first entry that is not finite; None if all are.

    Args:
        x: any tensor.
        among: entries that count, broadcast over the last axes of `x`; None for all.
    """
    bad = ~x.detach().isfinite()
    if among is not None:
        bad = bad & among.view(*among.shape, *[1] * (x.dim() - among.dim()))
    for index in bad.nonzero().tolist():
        return tuple(index), x[tuple(index)].item()
    return None
