"""Meta-SGD: MAML with meta-learned step sizes."""

import torch
from torch import Tensor

from metarl_run.algo.maml import MAML
from metarl_run.types import Params

PREFIX = "step_size."


class MetaSGD(MAML):
    """Meta-learn an initialisation and the size and sign of every single parameter's steps.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∘ ∇ L(φₖ, rolloutₖ)        α of the shape of θ
        learn:  ∇_(θ, α)  (1/M) Σᵢ L(φ_Kⁱ, rollout_Kⁱ)

    Args:
        inner_lr: initial value of every entry of α.
        meta_optimizer: update rule of θ and α.

    Differs from the paper: K may exceed 1, with the same α in every step.
    Source: Li et al. (2017), arXiv:1707.09835, Algorithm 2.
    """

    def learned_beside(self) -> Params:
        return {
            PREFIX + name: torch.full_like(self.initial[name], self.inner_lr).requires_grad_() for name in self.adapted
        }

    def step(self, name: str, φ: Tensor, direction: Tensor) -> Tensor:
        return φ - self.meta_params[PREFIX + name] * direction
