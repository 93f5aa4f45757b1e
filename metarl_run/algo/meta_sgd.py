"""Meta-SGD: meta-learn the step sizes, too."""

import torch
from torch import Tensor

from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer import MetaOptimizer
from metarl_run.kinds import Count, Positive, checked
from metarl_run.learner.base import BaseLearner
from metarl_run.network.base import Network
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
    Source: Li et al. (2017), arXiv:1707.09835, Eq. 3 and Algorithm 2.
    """

    @checked
    def __init__(
        self,
        *,
        learner: BaseLearner,
        network: Network,
        meta_params: Params,
        adaptation_steps: Count,
        inner_lr: Positive,
        first_order: bool,
        head_only: bool,
        sampling_correction: bool,
        meta_optimizer: MetaOptimizer,
    ) -> None:
        super().__init__(
            learner=learner,
            network=network,
            meta_params=meta_params,
            adaptation_steps=adaptation_steps,
            inner_lr=inner_lr,
            first_order=first_order,
            head_only=head_only,
            sampling_correction=sampling_correction,
            meta_optimizer=meta_optimizer,
        )
        self.meta_params |= {
            PREFIX + name: torch.full_like(self.initial[name], inner_lr).requires_grad_() for name in self.adapted
        }
        meta_optimizer.attach(self.meta_params)

    def step(self, name: str, φ: Tensor, gradient: Tensor) -> Tensor:
        return φ - self.meta_params[PREFIX + name] * gradient
