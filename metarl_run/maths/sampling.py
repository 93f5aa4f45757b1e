"""Exact draws from distributions for which torch is slow or takes no generator."""

import torch
from torch import Tensor


def gamma(shape: Tensor, generator: torch.Generator) -> Tensor:
    """Draws from Gamma(α) of scale 1.

        x ~ N(0, 1),    v = (1 + x / √(9 d))³,    d = α − 1/3:        d v, accepted with probability min(1, exp(ℓ))
        ℓ = x² / 2 + d (1 − v + log v)

    About 4 % are rejected and drawn again by torch's own sampler, which also draws all if some α < 1. That is as exact
    but takes three times as long.

    Args:
        shape: α > 0.
        generator: the only randomness used.

    Source: Marsaglia & Tsang (2000), "A simple method for generating gamma variables".
    """
    if shape.min() < 1:
        return torch._standard_gamma(shape, generator=generator)
    d = shape.flatten() - 1 / 3
    x = torch.randn(d.shape, generator=generator, device=d.device)
    log_u = torch.rand(d.shape, generator=generator, device=d.device).log_()
    v = (9 * d).rsqrt_().mul_(x).add_(1).pow_(3)
    limit = v.log().sub_(v).add_(1).mul_(d).addcmul_(x, x, value=0.5)  # NaN where v < 0
    refused = (log_u < limit).logical_not_().nonzero().squeeze(1)
    draws = d.mul_(v)
    draws[refused] = torch._standard_gamma(shape.flatten()[refused], generator=generator)
    return draws.view(shape.shape)


def beta(a: Tensor, b: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """X ~ Beta(a, b), and 1 − X to the same precision: X = G / (G + G′), G ~ Gamma(a), G′ ~ Gamma(b).

    Args:
        a: > 0.
        b: > 0.
        generator: the only randomness used.

    Source: Devroye (1986), Non-Uniform Random Variate Generation, section IX.3.
    """
    won, lost = gamma(a, generator), gamma(b, generator)
    total = won + lost
    return won / total, lost / total


def dirichlet(concentration: Tensor, generator: torch.Generator, *, dim: int) -> Tensor:
    """Points of the simplex along `dim`, from Dirichlet(α).

        p = g / Σ g,        gᵢ ~ Gamma(αᵢ);        if some αᵢ < 1:    log gᵢ = log Gamma-draw(αᵢ + 1) + log(uᵢ) / αᵢ

    Logarithms keep draws from underflowing where α is small.

    Args:
        concentration: α > 0.
        generator: the only randomness used.
        dim: the axis of the simplex.

    Source: Marsaglia & Tsang (2000), for Gamma(α) from Gamma(α + 1) and a uniform.
    """
    if concentration.min() < 1:
        u = torch.rand(concentration.shape, generator=generator, device=concentration.device)
        return (gamma(concentration + 1, generator).log() + u.log() / concentration).softmax(dim)
    g = gamma(concentration, generator)
    return g / g.sum(dim, keepdim=True)
