"""Step size, entropy bonus and discount that change over meta-training."""

import copy
from typing import Any

import torch

from metarl_run.algo.memory.outer_update import Outer


class Annealing:
    """Change an outer update from meta-iteration to meta-iteration.

        βᵢ = β₀ (β_last / β₀)ᶠ,    c_eᵢ = c_e₀ + (c_e_last − c_e₀) f,    γᵢ likewise,        f = i / (n − 1) in [0, 1]

    A large step size leaves the plateau at the beginning quickly and a small one ends closer to an optimum. Entropy
    keeps the agent from settling on actions before its memory is of use, and costs return at the end. A short horizon
    has little noise and soon teaches to take what is known to pay; a long one is what pays for finding out.

    Args:
        outer: what changes.
        meta_iterations: n; further ones keep the last values.
        final_lr: β_last; None to leave β as it is.
        final_entropy_weight: c_e_last; None to leave c_e as it is.
        final_discount: γ_last; None to leave γ as it is. Where γ′, across episodes, is γ, it remains so.
    """

    def __init__(
        self,
        outer: Outer,
        meta_iterations: int,
        final_lr: float | None,
        final_entropy_weight: float | None,
        final_discount: float | None,
    ) -> None:
        self.outer, self.meta_iterations, self.final_lr = outer, meta_iterations, final_lr
        learner = outer.learner
        ends = {"entropy_weight": final_entropy_weight, "discount": final_discount}
        if learner.lifetime_discount == learner.discount:
            ends["lifetime_discount"] = final_discount
        self.first_lr: float | None = getattr(outer.optimizer, "lr", None)
        if final_lr is not None and self.first_lr is None:
            raise ValueError(f"final_lr must be null with {type(outer.optimizer).__name__}, which has no lr")
        self.ends = {name: (getattr(learner, name), last) for name, last in ends.items() if last is not None}
        self.iteration = torch.zeros((), dtype=torch.int64, device="cpu")

    def advance(self) -> None:
        """Set the values of the next meta-iteration."""
        self.iteration += 1
        self._set()

    def _set(self) -> None:
        f = min(int(self.iteration - 1) / max(self.meta_iterations - 1, 1), 1.0)
        if self.final_lr is not None and self.first_lr is not None:
            vars(self.outer.optimizer)["lr"] = self.first_lr * (self.final_lr / self.first_lr) ** f
        if self.ends:
            self.outer.learner = copy.copy(self.outer.learner)  # the configured one stays as it is
            for name, (first, last) in self.ends.items():
                setattr(self.outer.learner, name, first + (last - first) * f)

    def state(self) -> dict[str, Any]:
        """Meta-iterations begun; empty if nothing changes with them."""
        return {"annealed": self.iteration} if self.ends or self.final_lr is not None else {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        if "annealed" in state:
            self.iteration.copy_(state["annealed"])
            if self.iteration:
                self._set()
