"""Means and deviations that follow what meta-training sees; in a new task they stay as they are."""

import torch
from torch import Tensor

from metarl_run.maths.returns import ROUNDING
from metarl_run.types import Params

PARTS = ("count", "mean", "variance")


def names(*quantities: str) -> frozenset[str]:
    """Names of the statistics of these quantities among the meta-parameters."""
    return frozenset(f"{quantity}.{part}" for quantity in quantities for part in PARTS)


def fresh(quantity: str, size: int, device: torch.device) -> Params:
    """Before anything was seen: mean 0, deviation 1."""
    start = (0.0, 0.0, 1.0)
    return {f"{quantity}.{part}": torch.full((size,), x, device=device) for part, x in zip(PARTS, start, strict=True)}


def follow(params: Params, quantity: str, x: Tensor, counts: Tensor) -> None:
    """Take `x`, `[…, D]`, where `counts`, `[…]`, is true, into the statistics, in place.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
    """
    n, mean, variance = (params[f"{quantity}.{part}"] for part in PARTS)
    x = x[counts]
    m = len(x)
    if not m:
        return
    δ, total = x.mean(0) - mean, n + m
    variance.copy_((n * variance + m * x.var(0, correction=0) + δ.square() * (n * m / total)) / total)
    mean.add_(δ * m / total)
    n.copy_(total)


def std(params: Params, quantity: str) -> Tensor:
    """√variance; 1 for what never varies but for rounding."""
    variance, mean = params[f"{quantity}.variance"], params[f"{quantity}.mean"]
    return torch.where(variance > ROUNDING**2 * (1 + mean.square()), variance, 1.0).sqrt()


def normalised(params: Params, quantity: str, x: Tensor) -> Tensor:
    """x less its mean and over its deviation in meta-training."""
    return (x - params[f"{quantity}.mean"]) / std(params, quantity)
