"""Numbers of the learner that are learned: within their bounds whatever the meta-gradient does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from metarl_run.types import Params

MARGIN = 1e-3
"""Of the way from bound to bound: no nearer to one does a quantity start, where a sigmoid has hardly a slope."""


@dataclass(frozen=True)
class BoundedHyperparameter:
    """A number between two bounds as a function of an unbounded one.

        q(x) = low + (high − low) σ(x),        on a logarithmic scale  q(x) = low (high / low)^σ(x)

    Args:
        bounds: low and high.
        logarithmic: equal steps of x are equal factors of q about the middle; needs low > 0.

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
        """x for the value `q`, which is moved inside if it is too near to a bound, or beyond."""
        low, high = self.ends
        at = torch.tensor(q, dtype=torch.float64, device="cpu").clamp(*self.bounds)
        share = ((at.log() if self.logarithmic else at) - low) / (high - low)
        return float(share.clamp(MARGIN, 1 - MARGIN).logit())

    def __call__(self, x: Tensor) -> Tensor:
        """q(x)."""
        low, high = self.ends
        q = low + (high - low) * x.sigmoid()
        return (q.exp() if self.logarithmic else q).clamp(*self.bounds)  # rounding may lead a hair outside


@dataclass(frozen=True)
class LearnedHyperparameters:
    """Some quantities by name, each with one value for all adaptation steps or one for each.

    Args:
        quantities: by name.
        steps: how many values each has, by name.
        layers: names of parameters, for each of which every step has a value of its own, by name of the quantity;
            empty if one is for all.
    """

    hyperparameters: Mapping[str, BoundedHyperparameter]
    steps: Mapping[str, int]
    layers: Mapping[str, Sequence[str]]

    def init(self, start: Mapping[str, float], device: torch.device) -> Params:
        """x of each quantity, `[steps]` or `[steps, layers]`, all at `start`."""
        params = {}
        for name, hyperparameter in self.hyperparameters.items():
            shape = [self.steps[name], *([len(self.layers[name])] if self.layers[name] else [])]
            params[name] = torch.full(shape, hyperparameter.raw(start[name]), device=device)
        return params

    def values(self, x: Params) -> Params:
        """q of each quantity, in the shape of its x."""
        return {name: hyperparameter(x[name]) for name, hyperparameter in self.hyperparameters.items()}

    def at(self, x: Params, k: Tensor) -> Params:
        """q of each quantity in step k of each task, `[M]` or `[M, layers]`; after the last step that of the last."""
        return {name: q[k.clamp(max=len(q) - 1)] for name, q in self.values(x).items()}

    def told(self, x: Params) -> dict[str, Tensor]:
        """Every value by name: `quantity`, `quantity_k` where steps differ, either with `/layer` where layers do."""
        told: dict[str, Tensor] = {}
        for name, q in self.values(x).items():
            steps = [f"{name}_{k + 1}" for k in range(len(q))] if len(q) > 1 else [name]
            for step, value in zip(steps, q, strict=True):
                layers = self.layers[name]
                told |= (
                    dict(zip([f"{step}/{layer}" for layer in layers], value, strict=True)) if layers else {step: value}
                )
        return told
