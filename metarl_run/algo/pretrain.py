"""Pretraining: one policy for all tasks, adapted only afterwards."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from metarl_run.algo.base import Live
from metarl_run.algo.gradient_based import GradientBased, MetaBatch
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.algo.meta_objective import Agents, Losses, MetaObjective
from metarl_run.algo.meta_optimizer import MetaOptimizer
from metarl_run.kinds import Positive, checked
from metarl_run.learner.base import BaseLearner
from metarl_run.learner.surrogate import Surrogate
from metarl_run.network.base import Network
from metarl_run.policy import Distribution
from metarl_run.types import Params, Rollout


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

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)

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
        return self.meta_optimizer.improve(MetaObjective(self, self.joint_losses, live(0)))

    def joint_losses(
        self,
        agents: Agents,
        rollouts: Sequence[Rollout],
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
        batch: MetaBatch | None = None,
    ) -> Losses:
        """L(θ, rollout₀) of each task, `[M]`; `batch` is what the tasks are part of, if they are not all."""
        output = self.output(agents[0].params, rollouts[0])
        batch = batch or self.meta_batch([(output, rollouts[0])])
        return self.loss_of(self.learner, output, rollouts[0], behaviour, surrogate, batch.normaliser)
