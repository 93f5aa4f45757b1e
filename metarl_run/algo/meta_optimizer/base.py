"""Update rules of the meta-parameters."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Objective
from metarl_run.component import Component
from metarl_run.errors import NumericalError
from metarl_run.kinds import Positive
from metarl_run.maths.finite import first_not_finite
from metarl_run.types import Params


class MetaOptimizer(Component, ABC):
    """An update rule that improves the meta-objective in θ, with its own memory.

    Attributes:
        provides, requires: capabilities that must match between the chosen components; see `metarl_run.config`.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    def attach(self, meta_params: Params) -> None:
        """Bind the rule to θ, once, before the first improvement."""
        self.names, self.tensors = list(meta_params), list(meta_params.values())
        self.memory: dict[str, list[Tensor]] = {}

    @abstractmethod
    def improve(self, objective: Objective) -> dict[str, Tensor]:
        """Update θ once; metrics by name.

        Raises:
            NumericalError: if a loss or gradient is not finite; θ is unchanged.
        """

    def state(self) -> dict[str, list[Tensor]]:
        """The rule's memory."""
        return self.memory

    def load_state(self, state: dict[str, list[Tensor]]) -> None:
        """Continue from what `state` returned."""
        for name, tensors in self.memory.items():
            for tensor, saved in zip(tensors, state[name], strict=True):
                tensor.copy_(saved)

    def require_finite(self, gradients: Sequence[Tensor], task_at_fault: Callable[[], str]) -> None:
        """Raise NumericalError, naming parameter and task, unless every entry is finite."""
        for name, gradient in zip(self.names, gradients, strict=True):
            found = first_not_finite(gradient)
            if found is not None:
                where = f"meta-gradient of {name}"
                raise NumericalError(where, f"must be finite, got {found[1]}", at=(task_at_fault(),))


class GradientRule(MetaOptimizer):
    """A first-order rule θ ← θ + step(meta-gradient).

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
        """Update θ by `gradients`, clipped to the largest norm allowed; returns the norm before clipping.

        Args:
            gradients: one per parameter.
            task_at_fault: names the first task whose gradient is not finite, for the error message.

        Raises:
            NumericalError: if a gradient is not finite; θ is unchanged.
        """
        norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if not torch.isfinite(norm):
            self.require_finite(gradients, task_at_fault)
            raise NumericalError("meta-gradient", "must have a finite norm, got inf")
        scale = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        with torch.no_grad():
            self.update([g * scale for g in gradients])
        return norm

    @abstractmethod
    def update(self, gradients: list[Tensor]) -> None:
        """Update `self.tensors` in place."""
