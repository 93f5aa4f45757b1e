"""Finiteness of tensors, as cheap as one sum."""

import torch
from torch import Tensor


def all_finite(x: Tensor) -> bool:
    """True if every entry is finite: a sum is finite only if its terms are, but a large one may overflow."""
    return bool(torch.isfinite(x.sum())) or bool(x.isfinite().all())
