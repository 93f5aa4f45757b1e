"""Gaussians squashed into a box: distributions over bounded actions that no clipping distorts."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from metarl_run.maths.distributions import Gaussian

EDGE = 1e-6
"""Actions stay this share of half the box away from its faces, where u would be infinite."""

NODES, WEIGHTS = (x.astype(np.float32) for x in np.polynomial.hermite_e.hermegauss(32))


class SquashedGaussian(NamedTuple):
    """The distribution of a = c + s tanh(u), uᵢ ~ N(μᵢ, σᵢ²), with centre c and half width s of a box.

        log π(a) = Σᵢ [log N(uᵢ; μᵢ, σᵢ²) − log sᵢ (1 − tanh² uᵢ)]

    Attributes:
        mean: μ, `[…, d]`, before the tanh.
        log_deviation: log σ, `[…, d]` or broadcastable to it.
        low: of the box, `[…, d]`.
        high: of the box, `[…, d]`.

    Source: Haarnoja et al. (2018), arXiv:1801.01290, appendix C.
    """

    mean: Tensor
    log_deviation: Tensor
    low: Tensor
    high: Tensor

    @property
    def inner(self) -> Gaussian:
        """The distribution of u."""
        return Gaussian(self.mean, self.log_deviation)

    def sample(self, noise: Tensor) -> Tensor:
        """The action for u = μ + σ · noise, for standard normal noise."""
        y = self.inner.sample(noise).tanh().clamp(-1 + EDGE, 1 - EDGE)
        return torch.lerp(self.low, self.high, 0.5 + 0.5 * y)

    def log_prob(self, action: Tensor) -> Tensor:
        half = 0.5 * (self.high - self.low)
        y = ((action - self.low) / half - 1).clamp(-1 + EDGE, 1 - EDGE)
        return self.inner.log_prob(y.atanh()) - (half * (1 - y**2)).log().sum(-1)

    def entropy(self) -> Tensor:
        """H = H(u) + Σᵢ E[log sᵢ (1 − tanh² uᵢ)], the expectation by Gauss-Hermite quadrature."""
        x, w = (torch.as_tensor(part).to(self.mean) for part in (NODES, WEIGHTS / math.sqrt(2 * math.pi)))
        u = self.mean.unsqueeze(-1) + self.log_deviation.exp().unsqueeze(-1) * x
        log_slope = 2 * (math.log(2) - u - softplus(-2 * u))  # log(1 − tanh² u), exact where tanh u rounds to 1
        return self.inner.entropy() + ((log_slope * w).sum(-1) + (0.5 * (self.high - self.low)).log()).sum(-1)

    def kl(self, other: "SquashedGaussian") -> Tensor:
        """KL between the distributions of u: it is the same before and after an invertible map."""
        return self.inner.kl(other.inner)
