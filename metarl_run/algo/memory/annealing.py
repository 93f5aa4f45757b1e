"""Step size and entropy bonus that fall over meta-training."""

import copy
from typing import Any

import torch

from metarl_run.algo.memory.outer_update import Outer


class Annealing:
    """Change an outer update from meta-iteration to meta-iteration.

        βᵢ = β₀ (β_last / β₀)ᶠ,        c_eᵢ = c_e₀ + (c_e_last − c_e₀) f,        f = i / (n − 1) in [0, 1]

    A large step size leaves the plateau at the beginning quickly and a small one ends closer to an optimum; entropy
    keeps the agent from settling on actions before its memory is of use, and costs return at the end.

    Args:
        outer: what changes.
        meta_iterations: n; further ones keep the last values.
        final_lr: β_last; None to leave β as it is.
        final_entropy_weight: c_e_last; None to leave c_e as it is.
    """

    def __init__(
        self, outer: Outer, meta_iterations: int, final_lr: float | None, final_entropy_weight: float | None
    ) -> None:
        self.outer, self.meta_iterations = outer, meta_iterations
        self.final_lr, self.final_entropy_weight = final_lr, final_entropy_weight
        self.first: dict[str, float] = {}
        if final_lr is not None:
            self.first["lr"] = outer.optimizer.lr
        if final_entropy_weight is not None:
            self.first["entropy_weight"] = outer.learner.entropy_weight
        self.iteration = torch.zeros((), dtype=torch.int64, device="cpu")

    def advance(self) -> None:
        """Set the values of the next meta-iteration."""
        f = min(int(self.iteration) / max(self.meta_iterations - 1, 1), 1.0)
        self.iteration += 1
        if self.final_lr is not None:
            self.outer.optimizer.lr = self.first["lr"] * (self.final_lr / self.first["lr"]) ** f
        if self.final_entropy_weight is not None:
            first = self.first["entropy_weight"]
            learner = copy.copy(self.outer.learner)  # the configured one acts, too
            learner.entropy_weight = first + (self.final_entropy_weight - first) * f
            self.outer.learner = learner

    def state(self) -> dict[str, Any]:
        """Meta-iterations so far; empty if nothing changes with them."""
        return {"annealed": self.iteration} if self.first else {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        if self.first:
            self.iteration.copy_(state["annealed"])
