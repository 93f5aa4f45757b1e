"""Hand-designed inner rules: the direction of a step, given the gradient and a memory of earlier ones."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from metarl_run.types import Memory, Params

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class InnerRule(ABC):
    """An update rule φ ← φ − α d, applied to every coordinate of every task's parameters."""

    def initial_memory(self, params: Params) -> Memory:
        """Memory before the first step, each tensor `[M, …]`; empty unless a rule overrides it."""
        return {}

    @abstractmethod
    def directions(self, gradients: Params, memory: Memory) -> tuple[Params, Memory]:
        """d of every parameter that has a gradient, and the updated memory."""


class SGD(InnerRule):
    """Plain gradient descent: d = g."""

    def directions(self, gradients: Params, memory: Memory) -> tuple[Params, Memory]:
        return gradients, memory


class Adam(InnerRule):
    """Adam with the usual moments: β₁ = .9, β₂ = .999, ε = 1e-8.

        m ← β₁ m + (1 − β₁) g,    v ← β₂ v + (1 − β₂) g²,    d = m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε)

    Source: Kingma and Ba (2015), arXiv:1412.6980.
    """

    def initial_memory(self, params: Params) -> Memory:
        moments = {f"{moment}.{name}": torch.zeros_like(φ) for name, φ in params.items() for moment in ("m", "v")}
        first = next(iter(params.values()))
        return {**moments, "t": first.new_zeros(len(first))}

    def directions(self, gradients: Params, memory: Memory) -> tuple[Params, Memory]:
        t = memory["t"] + 1
        memory = {**memory, "t": t}
        directions = {}
        for name, g in gradients.items():
            m = torch.lerp(g, memory[f"m.{name}"], BETA1)
            v = torch.lerp(g * g, memory[f"v.{name}"], BETA2)
            steps = t.view(-1, *[1] * (g.dim() - 1))
            directions[name] = debiased(m, BETA1, steps) / (debiased(v, BETA2, steps).sqrt() + EPSILON)
            memory |= {f"m.{name}": m, f"v.{name}": v}
        return directions, memory


def debiased(moment: Tensor, β: float, t: Tensor) -> Tensor:
    """A moving average that started at 0, corrected for that bias: divided by the total weight of its t gradients."""
    return moment / (1 - β**t)


RULES: dict[str, InnerRule] = {"sgd": SGD(), "adam": Adam()}
