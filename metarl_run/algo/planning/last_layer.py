"""Bayesian linear regression on features: how the last layer of a network adapts to a task exactly."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Posterior(NamedTuple):
    """What is believed of the matrix K of y = Kᵀ φ + noise, the noise of output i being N(0, σᵢ²).

    Attributes:
        mean: K̄, the expected matrix.
        factor: L, lower triangular, with L Lᵀ = Λ: the column i of K has covariance σᵢ² Λ⁻¹.
    """

    mean: Float[Tensor, "*N F D"]
    factor: Float[Tensor, "*N F F"]

    def spread(self, φ: Float[Tensor, "*N X F"]) -> Float[Tensor, "*N X"]:
        """φᵀ Λ⁻¹ φ: times σᵢ², the variance of what is expected at φ."""
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, φ.mT, upper=False)
        return whitened.square().sum(-2)

    def sample(self, deviation: Tensor, generator: torch.Generator) -> Float[Tensor, "*N F D"]:
        """One K of the posterior: K̄ + L⁻ᵀ ε diag(σ)."""
        ε = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        coloured: Tensor = torch.linalg.solve_triangular(self.factor.mT, ε, upper=True)
        return self.mean + coloured * deviation


def posterior(
    prior_mean: Float[Tensor, "*#N F D"], squares: Float[Tensor, "*N F F"], products: Float[Tensor, "*N F D"]
) -> Posterior:
    """The belief after data whose features Φ and outputs Y made `squares` and `products`.

        Λ = I + Φᵀ Φ,        K̄ = Λ⁻¹ (K̄₀ + Φᵀ Y)

    before any data K has mean K̄₀ and its columns covariance σᵢ² I: any other prior is one of other features.

    Args:
        prior_mean: K̄₀.
        squares: Φᵀ Φ.
        products: Φᵀ Y.

    Source: Harrison, Sharma and Pavone (2018), arXiv:1807.08912, with Λ₀ = I.
    """
    identity = torch.eye(squares.shape[-1], device=squares.device, dtype=squares.dtype)
    factor = torch.linalg.cholesky(squares + identity)
    return Posterior(torch.cholesky_solve(prior_mean + products, factor), factor)
