"""MAML: differentiate through adaptation."""

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.gradient_based import GradientBased, finite_mean
from metarl_run.algo.meta_optimizer import MetaOptimizer
from metarl_run.kinds import Count, Positive, checked
from metarl_run.learner.base import BaseLearner
from metarl_run.network.base import Network
from metarl_run.types import Params


class MAML(GradientBased, MetaLearner):
    """Meta-learn an initialisation from which a few gradient steps suffice.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ L(φ_Kⁱ, rollout_Kⁱ)        through all K steps, the rollouts held fixed

    That is the exact derivative of L for the data that was collected. How well it estimates the derivative of the
    expected return is up to the learner's L: how θ changes which data is collected enters only through it.

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to what the learner reads.
        meta_params: θ at the start.
        adaptation_steps: K in meta-training.
        inner_lr: α.
        first_order: drop second derivatives (FOMAML, section 5.2 of the paper).
        meta_optimizer: how θ follows the meta-gradient.

    Differs from the paper: a plain gradient method in place of TRPO for the outer step.
    Source: Finn et al. (2017), arXiv:1703.03400, Algorithm 3 and Eq. 1.
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
        meta_optimizer: MetaOptimizer,
    ) -> None:
        super().__init__(learner, network, meta_params, inner_lr, first_order=first_order)
        self.adaptation_steps, self.meta_optimizer = adaptation_steps, meta_optimizer
        meta_optimizer.attach(self.meta_params)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetime = live(self.adaptation_steps)
        losses, metrics = self.loss(lifetime.agents[-1].params, lifetime.rollouts[-1])
        meta_loss = finite_mean(losses)
        norm = self.meta_optimizer.step(torch.autograd.grad(meta_loss, list(self.meta_params.values())))
        return {"loss": meta_loss.detach(), "gradient_norm": norm, **metrics}
