"""Running means and standard deviations of meta-training experience; they do not change in a new task."""

import torch
from torch import Tensor

from metarl_run.maths.returns import ROUNDING
from metarl_run.types import Params

PARTS = ("count", "mean", "variance")


def names(*variables: str) -> frozenset[str]:
    """Names of the statistics of these variables among the meta-parameters."""
    return frozenset(f"{variable}.{part}" for variable in variables for part in PARTS)


def fresh(variable: str, size: int, device: torch.device) -> Params:
    """Initial statistics: mean 0, standard deviation 1."""
    start = (0.0, 0.0, 1.0)
    return {f"{variable}.{part}": torch.full((size,), x, device=device) for part, x in zip(PARTS, start, strict=True)}


def follow(params: Params, variable: str, x: Tensor, counts: Tensor) -> None:
    """Add those entries of `x`, `[…, D]`, where `counts`, `[…]`, is true to the statistics, in place.

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance".
    """
    n, mean, variance = (params[f"{variable}.{part}"] for part in PARTS)
    x = x[counts]
    m = len(x)
    if not m:
        return
    δ, total = x.mean(0) - mean, n + m
    variance.copy_((n * variance + m * x.var(0, correction=0) + δ.square() * (n * m / total)) / total)
    mean.add_(δ * m / total)
    n.copy_(total)


def std(params: Params, variable: str) -> Tensor:
    """√variance; 1 for variables that are constant up to rounding."""
    variance, mean = params[f"{variable}.variance"], params[f"{variable}.mean"]
    return torch.where(variance > ROUNDING**2 * (1 + mean.square()), variance, 1.0).sqrt()


def normalised(params: Params, variable: str, x: Tensor) -> Tensor:
    """(x − mean) / standard deviation, of meta-training."""
    return (x - params[f"{variable}.mean"]) / std(params, variable)
