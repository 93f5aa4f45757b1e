"""Meta-SGD: meta-learn the step sizes, too."""

import torch
from torch import Tensor

from metarl_run.algo.maml import MAML
from metarl_run.types import Params

PREFIX = "step_size."


class MetaSGD(MAML):
    """Meta-learn an initialisation and, for every single parameter, the size and sign of its steps.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∘ ∇ L(φₖ, rolloutₖ)        α of the shape of θ
        learn:  ∇_(θ, α)  (1/M) Σᵢ L(φ_Kⁱ, rollout_Kⁱ)

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to what the learner reads.
        meta_params: θ at the start.
        adaptation_steps: K in meta-training.
        inner_lr: every entry of α at the start.
        first_order: drop second derivatives.
        head_only: adapt the network's last layer alone.
        sampling_correction: as in MAML.
        meta_optimizer: how θ and α follow.

    Differs from the paper: K may exceed 1, with the same α in every step.
    Source: Li et al. (2017), arXiv:1707.09835, Algorithm 2.
    """

    def learned_beside(self) -> Params:
        return {
            PREFIX + name: torch.full_like(self.initial[name], self.inner_lr).requires_grad_() for name in self.adapted
        }

    def step(self, name: str, φ: Tensor, direction: Tensor) -> Tensor:
        return φ - self.meta_params[PREFIX + name] * direction
