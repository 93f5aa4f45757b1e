"""Draws of a task parameter from its configured distribution.

A distribution is a number (constant) or a list that starts with its name, see `metarl_run.kinds.Distributions`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Distribution = int | float | Sequence[Any]


def sample(spec: Distribution, num_tasks: int, generator: torch.Generator) -> Tensor:
    """`num_tasks` independent draws, float32, on the generator's device.

    Args:
        spec: the distribution.
        num_tasks: draws M.
        generator: the only randomness used.
    """
    name, numbers = _parsed(spec)
    device = generator.device
    values = torch.tensor(numbers, dtype=torch.float64, device=device)
    if name == "constant":
        return values.expand(num_tasks).float()
    if name == "normal":
        mean, std = numbers
        return torch.normal(mean, std, (num_tasks,), generator=generator, device=device)
    if name == "choice":
        return values[torch.randint(len(numbers), (num_tasks,), generator=generator, device=device)].float()
    u = torch.rand(num_tasks, dtype=torch.float64, generator=generator, device=device)
    if name == "log_uniform":
        low, high = values.log()
        return _within((low + u * (high - low)).exp(), numbers)
    lows, highs = values[::2], values[1::2]
    ends = (highs - lows).cumsum(0)  # of the intervals, laid end to end
    position = u * ends[-1]
    interval = torch.bucketize(position, ends[:-1], right=True)
    return _within(lows[interval] + position - (ends - (highs - lows))[interval], numbers)


def in_turn(values: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Draws among a few values in random order: each of n comes ⌊number / n⌋ or ⌈number / n⌉ times."""
    rounds = math.ceil(number / len(values))
    keys = torch.rand(rounds, len(values), dtype=torch.float64, generator=generator, device=generator.device)
    return values[keys.argsort(-1)].flatten()[:number]  # each round a random order of all


def sample_alone(spec: Distribution, num_tasks: int, generator: torch.Generator) -> Tensor:
    """Draws of the only parameter of a family: as `sample`, but values that can be listed are drawn in turn."""
    values = listed(spec)
    return (
        sample(spec, num_tasks, generator)
        if values is None
        else in_turn(values.to(generator.device), num_tasks, generator)
    )


def listed(spec: Distribution) -> Tensor | None:
    """All different values that `spec` can draw, float32; None for a continuum."""
    name, numbers = _parsed(spec)
    return torch.tensor(sorted(set(numbers)), device="cpu") if name in ("constant", "choice") else None


def _within(x: Tensor, numbers: list[float]) -> Tensor:
    """`x` in float32, not rounded beyond the outermost bounds."""
    return x.float().clamp(min(numbers), max(numbers))


def _parsed(spec: Distribution) -> tuple[str, list[float]]:
    if isinstance(spec, Sequence):
        return str(spec[0]), [float(number) for number in spec[1:]]
    return "constant", [float(spec)]
