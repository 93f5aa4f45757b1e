"""Bayesian linear regression on features: exact adaptation of a network's last layer."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Posterior(NamedTuple):
    """Posterior over the matrix K of y = Kᵀ φ + noise, where the noise of output i is N(0, σᵢ²).

    Attributes:
        mean: K̄, the expected matrix.
        factor: L, lower triangular, with L Lᵀ = Λ: column i of K has covariance σᵢ² Λ⁻¹.
    """

    mean: Float[Tensor, "*N F D"]
    factor: Float[Tensor, "*N F F"]

    def spread(self, φ: Float[Tensor, "*N X F"]) -> Float[Tensor, "*N X"]:
        """φᵀ Λ⁻¹ φ: the variance of output i's expectation at φ, over σᵢ²."""
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, φ.mT, upper=False)
        return whitened.square().sum(-2)

    def sample(self, σ: Tensor, generator: torch.Generator) -> Float[Tensor, "*N F D"]:
        """A posterior sample of K: K̄ + L⁻ᵀ ε diag(σ)."""
        ε = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        coloured: Tensor = torch.linalg.solve_triangular(self.factor.mT, ε, upper=True)
        return self.mean + coloured * σ


def posterior(
    prior_mean: Float[Tensor, "*#N F D"], squares: Float[Tensor, "*N F F"], products: Float[Tensor, "*N F D"]
) -> Posterior:
    """The posterior given sums over the data's features Φ and outputs Y.

        Λ = I + Φᵀ Φ,        K̄ = Λ⁻¹ (K̄₀ + Φᵀ Y)

    A priori K has mean K̄₀, and its columns covariance σᵢ² I: a different covariance amounts to different features.

    Args:
        prior_mean: K̄₀.
        squares: Φᵀ Φ.
        products: Φᵀ Y.

    Source: Harrison, Sharma and Pavone (2018), arXiv:1807.08912, with Λ₀ = I.
    """
    identity = torch.eye(squares.shape[-1], device=squares.device, dtype=squares.dtype)
    factor = torch.linalg.cholesky(squares + identity)
    return Posterior(torch.cholesky_solve(prior_mean + products, factor), factor)
