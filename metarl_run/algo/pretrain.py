"""Pretraining: one policy for all tasks, adapted only afterwards."""

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.gradient_based import GradientBased, finite_mean
from metarl_run.algo.meta_optimizer import MetaOptimizer
from metarl_run.kinds import Positive, checked
from metarl_run.learner.base import BaseLearner
from metarl_run.network.base import Network
from metarl_run.types import Params


class Pretrain(GradientBased, MetaLearner):
    """Train one policy on all tasks jointly; in a new task, start from it and adapt by gradient steps.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ L(θ, rollout₀ⁱ)        before any adaptation: MAML with K = 0

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to what the learner reads.
        meta_params: θ at the start.
        inner_lr: α of the steps in a new task.
        meta_optimizer: how θ follows the gradient.

    Source: the baseline "pretrained" of Finn et al. (2017), arXiv:1703.03400, section 5.
    """

    @checked
    def __init__(
        self,
        *,
        learner: BaseLearner,
        network: Network,
        meta_params: Params,
        inner_lr: Positive,
        meta_optimizer: MetaOptimizer,
    ) -> None:
        super().__init__(learner, network, meta_params, inner_lr, first_order=True)
        self.meta_optimizer = meta_optimizer
        meta_optimizer.attach(self.meta_params)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetime = live(0)
        losses, metrics = self.loss(lifetime.agents[0].params, lifetime.rollouts[0])
        joint_loss = finite_mean(losses)
        norm = self.meta_optimizer.step(torch.autograd.grad(joint_loss, list(self.meta_params.values())))
        return {"loss": joint_loss.detach(), "gradient_norm": norm, **metrics}
