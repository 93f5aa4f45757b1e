"""How meta-parameters follow the meta-gradient."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Objective
from metarl_run.component import Component
from metarl_run.errors import NumericalError
from metarl_run.kinds import Positive
from metarl_run.types import Params


class MetaOptimizer(Component, ABC):
    """A rule by which θ improves the meta-objective, with the memory that the rule needs.

    Attributes:
        provides, requires: words that must match between the chosen components; see `metarl_run.config`.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    def attach(self, meta_params: Params) -> None:
        """Bind the rule to θ, once, before the first improvement."""
        self.names, self.tensors = list(meta_params), list(meta_params.values())
        self.memory: dict[str, list[Tensor]] = {}

    @abstractmethod
    def improve(self, objective: Objective) -> dict[str, Tensor]:
        """Move θ once; quantities worth logging.

        Raises:
            NumericalError: if a loss or gradient is not finite; θ is as before.
        """

    def state(self) -> dict[str, list[Tensor]]:
        """What the rule remembers."""
        return self.memory

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Remember what `state` returned."""
        for name, tensors in self.memory.items():
            for mine, theirs in zip(tensors, state[name], strict=True):
                mine.copy_(theirs)

    def require_finite(self, gradients: Sequence[Tensor], task_at_fault: Callable[[], str]) -> None:
        """Raise NumericalError, naming parameter and task, unless every entry is finite."""
        finite = [bool(torch.isfinite(g).all()) for g in gradients]
        if not all(finite):
            where = f"nan or inf in {self.names[finite.index(False)]} in {task_at_fault()}"
            raise NumericalError("meta-gradient", f"must be finite, got {where}", "lower the step sizes")


class GradientRule(MetaOptimizer):
    """A rule θ ← θ + step(meta-gradient).

    Args:
        max_grad_norm: the meta-gradient is scaled down to this norm.
    """

    max_grad_norm: Positive

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)

    def improve(self, objective: Objective) -> dict[str, Tensor]:
        loss, gradients, metrics = objective.gradient(self.tensors)
        norm = self.step(gradients, objective.task_at_fault)
        return {"loss": loss, "gradient_norm": norm, **metrics}

    def step(self, gradients: Sequence[Tensor], task_at_fault: Callable[[], str]) -> Tensor:
        """Move θ against `gradients`, scaled down to the largest norm allowed; the norm before scaling.

        Args:
            gradients: one per parameter.
            task_at_fault: says which task's gradient is not finite, if one is not.

        Raises:
            NumericalError: if a gradient is not finite; θ is as before.
        """
        norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if not torch.isfinite(norm):
            self.require_finite(gradients, task_at_fault)
            raise NumericalError("meta-gradient", "must have a finite norm, got inf", "lower the step sizes")
        scale = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        with torch.no_grad():
            self.update([g * scale for g in gradients])
        return norm

    @abstractmethod
    def update(self, gradients: list[Tensor]) -> None:
        """Move `self.tensors` in place."""
