"""How meta-parameters follow the meta-gradient."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from metarl_run.errors import NumericalError
from metarl_run.kinds import Positive, checked
from metarl_run.types import Params


class MetaOptimizer(ABC):
    """A rule θ ← θ + step(meta-gradient), with the memory the rule needs."""

    def __init__(self, max_grad_norm: float) -> None:
        self.max_grad_norm = max_grad_norm
        self.rule: torch.optim.Optimizer

    @abstractmethod
    def make_rule(self, tensors: list[Tensor]) -> torch.optim.Optimizer:
        """The rule for these tensors."""

    def attach(self, meta_params: Params) -> None:
        """Bind the rule to θ, once, before the first step."""
        self.names, self.tensors = list(meta_params), list(meta_params.values())
        self.rule = self.make_rule(self.tensors)

    def step(self, gradients: tuple[Tensor, ...]) -> Tensor:
        """Move θ against `gradients`, scaled down to the largest norm allowed; the norm before scaling.

        Raises:
            NumericalError: if a gradient is not finite; θ is as before.
        """
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if not torch.isfinite(norm):
            finite = [bool(torch.isfinite(g).all()) for g in gradients]
            worst = self.names[finite.index(False)] if not all(finite) else "its norm"
            raise NumericalError("meta-gradient", f"must be finite, got nan or inf in {worst}", "lower the step sizes")
        scale = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
        for tensor, gradient in zip(self.tensors, gradients, strict=True):
            tensor.grad = gradient * scale
        self.rule.step()
        self.rule.zero_grad(set_to_none=True)
        return norm

    def state(self) -> dict[str, Any]:
        return self.rule.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        self.rule.load_state_dict(state)


class Adam(MetaOptimizer):
    """Adam with the usual moments (β₁ = .9, β₂ = .999).

    Args:
        lr: β, step size.
        max_grad_norm: the meta-gradient is scaled down to this norm.

    Source: Kingma and Ba (2015), arXiv:1412.6980, Algorithm 1.
    """

    @checked
    def __init__(self, *, lr: Positive, max_grad_norm: Positive) -> None:
        super().__init__(max_grad_norm)
        self.lr = lr

    def make_rule(self, tensors: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.Adam(tensors, lr=self.lr)


class SGD(MetaOptimizer):
    """Plain gradient descent.

    Args:
        lr: β, step size.
        max_grad_norm: the meta-gradient is scaled down to this norm.
    """

    @checked
    def __init__(self, *, lr: Positive, max_grad_norm: Positive) -> None:
        super().__init__(max_grad_norm)
        self.lr = lr

    def make_rule(self, tensors: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(tensors, lr=self.lr)
