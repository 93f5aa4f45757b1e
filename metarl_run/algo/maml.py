"""MAML: differentiate through adaptation."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from metarl_run.algo.base import Agents, Live, LiveDivided, Losses, MetaLearner
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.algo.gradient.objective import DividedObjective, MetaObjective
from metarl_run.algo.gradient.sampling_correction import sampling_correction
from metarl_run.algo.meta_optimizer.base import MetaOptimizer
from metarl_run.kinds import Count
from metarl_run.learner.surrogate import Surrogate, score
from metarl_run.maths.distributions import Distribution
from metarl_run.types import Rollout


class MAML(GradientBased, MetaLearner):
    """Meta-learn an initialisation from which a few gradient steps suffice.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ L(φ_Kⁱ, rollout_Kⁱ)        through all K steps, the rollouts held fixed

    In the last line the normaliser of L is shared by all tasks, see `metarl_run.learner.policy_gradient`, so that the
    meta-gradient follows the mean return over tasks. It is the exact derivative of L on the collected data. How well it
    estimates the derivative of the expected return depends on the learner's surrogate, through which alone θ's effect
    on the sampled data enters. With `score` it equals first-order MAML in expectation for tables of logits, but not for
    networks: see `metarl_run.learner.surrogate`.

    Args:
        adaptation_steps: K in meta-training.
        first_order: drop second derivatives (FOMAML, section 5.2 of the paper).
        head_only: adapt only the network's last layer (ANIL: Raghu et al. 2020, arXiv:1909.09157).
        sampling_correction: add the gradient of the sampling distribution of the adaptation data (E-MAML), see
            `metarl_run.algo.gradient.sampling_correction`. Inner steps then use the score function whatever the
            learner's surrogate, because the correction complements their derivative at fixed data.
        meta_optimizer: update rule of θ: gradient-based, or a trust region (the paper's TRPO).

    Source: Finn et al. (2017), arXiv:1703.03400, Algorithm 3 and Eq. 1.
    """

    adaptation_steps: Count
    first_order: bool
    head_only: bool
    sampling_correction: bool
    meta_optimizer: MetaOptimizer

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)
    provides_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {"sampling_correction": {False: ("divides",)}}
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "sampling_correction": {True: ("policy_gradient", "any_surrogate")}
    }
    advice: ClassVar[dict[str, str]] = {"adaptation_steps": "K = 0 is joint training: algo=pretrain"}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inner_surrogate = score if self.sampling_correction else None
        self.meta_optimizer.attach(self.meta_params)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(MetaObjective(self, self.meta_losses, live(self.adaptation_steps)))

    def divided_update(self, live: LiveDivided) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(DividedObjective(self, self.meta_losses, live(self.adaptation_steps)))

    def meta_losses(
        self,
        agents: Agents,
        rollouts: Sequence[Rollout],
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
        batch: MetaBatch | None = None,
    ) -> Losses:
        """L(φ_K, rollout_K) of each task, `[M]`; `batch` is the whole meta-batch if these tasks are a part of it."""
        output = self.output(agents[-1].params, rollouts[-1])
        batch = batch or self.meta_batch([(output, rollouts[-1])])
        losses, metrics = self.loss_of(self.learner, output, rollouts[-1], behaviour, surrogate, batch.normaliser)
        if self.sampling_correction:
            losses = losses + sampling_correction(self, agents, rollouts, batch)
        return losses, metrics
