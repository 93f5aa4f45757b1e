"""Learned hyperparameters of the learner, kept within bounds whatever the meta-gradient is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metarl_run.types import Params

MARGIN = 1e-3
"""Smallest distance of an initial value from a bound, as a share of the interval: a sigmoid is flat near its ends."""


@dataclass(frozen=True)
class BoundedHyperparameter:
    """A hyperparameter between two bounds as a function of an unbounded variable.

        q(x) = low + (high − low) σ(x),        on a logarithmic scale  q(x) = low (high / low)^σ(x)

    Args:
        bounds: low and high.
        logarithmic: use the logarithmic scale; needs low > 0.

    Source: Zahavy et al. (2020), arXiv:2002.12928, for the sigmoid.
    """

    bounds: Sequence[float]
    logarithmic: bool = False

    @cached_property
    def ends(self) -> list[float]:
        """The bounds, or their logarithms."""
        ends = torch.tensor(self.bounds, dtype=torch.float64, device="cpu")
        logs: list[float] = (ends.log() if self.logarithmic else ends).tolist()
        return logs

    def raw(self, q: float) -> float:
        """x for the value `q`, which is moved inside if it is too close to a bound, or beyond it."""
        low, high = self.ends
        inside = torch.tensor(q, dtype=torch.float64, device="cpu").clamp(*self.bounds)
        share = ((inside.log() if self.logarithmic else inside) - low) / (high - low)
        return float(share.clamp(MARGIN, 1 - MARGIN).logit())

    def __call__(self, x: Tensor) -> Tensor:
        """q(x)."""
        low, high = self.ends
        q = low + (high - low) * x.sigmoid()
        return (q.exp() if self.logarithmic else q).clamp(*self.bounds)  # rounding may exceed a bound by an ulp


@dataclass(frozen=True)
class LearnedHyperparameters:
    """Hyperparameters by name, each with one value for all adaptation steps or one per step.

    Args:
        hyperparameters: bounds and scale, by name.
        steps: number of per-step values, by name.
        layers: network parameters with a value of their own, by name of the hyperparameter; empty if all share one.
    """

    hyperparameters: Mapping[str, BoundedHyperparameter]
    steps: Mapping[str, int]
    layers: Mapping[str, Sequence[str]]

    def init(self, start: Mapping[str, float], device: torch.device) -> Params:
        """x of each hyperparameter, `[steps]` or `[steps, layers]`, with every value q(x) = `start`."""
        params = {}
        for name, hyperparameter in self.hyperparameters.items():
            shape = [self.steps[name], *([len(self.layers[name])] if self.layers[name] else [])]
            params[name] = torch.full(shape, hyperparameter.raw(start[name]), device=device)
        return params

    def values(self, x: Params) -> Params:
        """q of each hyperparameter, in the shape of its x."""
        return {name: hyperparameter(x[name]) for name, hyperparameter in self.hyperparameters.items()}

    def at(self, x: Params, k: Tensor) -> Params:
        """q of each hyperparameter at step k of each task, `[M]` or `[M, layers]`; later steps use the last values."""
        return {name: q[k.clamp(max=len(q) - 1)] for name, q in self.values(x).items()}

    def by_name(self, x: Params) -> dict[str, Tensor]:
        """Every value under its metric key: `name`, `name_k` if steps differ, followed by `/layer` if layers do."""
        values: dict[str, Tensor] = {}
        for name, q in self.values(x).items():
            steps = [f"{name}_{k + 1}" for k in range(len(q))] if len(q) > 1 else [name]
            for step, value in zip(steps, q, strict=True):
                layers = self.layers[name]
                keys = [f"{step}/{layer}" for layer in layers]
                values |= dict(zip(keys, value, strict=True)) if layers else {step: value}
        return values
