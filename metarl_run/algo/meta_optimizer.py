"""How meta-parameters follow the meta-gradient."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim.adam import adam

from metarl_run.algo.meta_objective import MetaObjective
from metarl_run.errors import NumericalError
from metarl_run.kinds import NonNegative, Positive, checked
from metarl_run.types import Params


class MetaOptimizer(ABC):
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
    def improve(self, objective: MetaObjective) -> dict[str, Tensor]:
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

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)

    def __init__(self, max_grad_norm: float) -> None:
        self.max_grad_norm = max_grad_norm

    def improve(self, objective: MetaObjective) -> dict[str, Tensor]:
        loss, gradients, metrics = objective.gradient(self.tensors, MetaObjective.own_losses)
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


class SGD(GradientRule):
    """Plain gradient descent: θ ← θ − β g.

    Args:
        lr: β.
        max_grad_norm: the meta-gradient is scaled down to this norm.
    """

    @checked
    def __init__(self, *, lr: Positive, max_grad_norm: Positive) -> None:
        super().__init__(max_grad_norm)
        self.lr = lr

    def update(self, gradients: list[Tensor]) -> None:
        for θ, g in zip(self.tensors, gradients, strict=True):
            θ.sub_(g, alpha=self.lr)


class Adam(GradientRule):
    """Adam with the usual moments: β₁ = .9, β₂ = .999, ε = 1e-8.

        step i has size β / (1 + d i)

    Args:
        lr: β, size of the first step.
        decay: d ≥ 0; 0 keeps the size.
        max_grad_norm: the meta-gradient is scaled down to this norm.

    Source: Kingma and Ba (2015), arXiv:1412.6980; Robbins and Monro (1951), for the decay.
    """

    @checked
    def __init__(self, *, lr: Positive, decay: NonNegative, max_grad_norm: Positive) -> None:
        super().__init__(max_grad_norm)
        self.lr, self.decay = lr, decay

    def attach(self, meta_params: Params) -> None:
        super().attach(meta_params)
        self.memory = {
            "first_moment": [torch.zeros_like(θ) for θ in self.tensors],
            "second_moment": [torch.zeros_like(θ) for θ in self.tensors],
            "steps": [torch.zeros((), device="cpu") for _ in self.tensors],  # as Adam wants them
        }

    def update(self, gradients: list[Tensor]) -> None:
        # The function behind torch.optim.Adam: the class imports torch's compiler, a second at every start.
        adam(
            self.tensors,
            gradients,
            self.memory["first_moment"],
            self.memory["second_moment"],
            [],
            self.memory["steps"],
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.lr / (1 + self.decay * float(self.memory["steps"][0])),
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )
