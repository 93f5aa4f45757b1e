"""A number of the learner that is learned: within its bounds whatever the meta-gradient does."""

from collections.abc import Sequence

import torch
from torch import Tensor

MARGIN = 1e-3
"""Of the way from bound to bound: no nearer to one does a quantity start, where a sigmoid has hardly a slope."""


class Quantity:
    """A number between two bounds as a function of an unbounded one.

        q(x) = low + (high − low) σ(x),        on a logarithmic scale  q(x) = low (high / low)^σ(x)

    Args:
        bounds: low and high.
        logarithmic: equal steps of x are equal factors of q about the middle; needs low > 0.

    Source: Zahavy et al. (2020), arXiv:2002.12928, section 3, for the sigmoid.
    """

    def __init__(self, bounds: Sequence[float], *, logarithmic: bool = False) -> None:
        self.low, self.high = bounds
        self.logarithmic = logarithmic
        ends = torch.tensor([self.low, self.high], dtype=torch.float64, device="cpu")
        self.ends: list[float] = (ends.log() if logarithmic else ends).tolist()

    def raw(self, q: float) -> float:
        """x for the value `q`, which is moved inside if it is too near to a bound, or beyond."""
        low, high = self.ends
        at = torch.tensor(q, dtype=torch.float64, device="cpu").clamp(self.low, self.high)
        share = ((at.log() if self.logarithmic else at) - low) / (high - low)
        return float(share.clamp(MARGIN, 1 - MARGIN).logit())

    def __call__(self, x: Tensor) -> Tensor:
        """q(x)."""
        low, high = self.ends
        q = low + (high - low) * x.sigmoid()
        return (q.exp() if self.logarithmic else q).clamp(self.low, self.high)  # rounding may lead a hair outside
