"""Pretraining: one policy trained on all tasks jointly, adapted only at meta-test."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from metarl_run.algo.base import Agents, Live, LiveDivided, Losses, MetaLearner
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.algo.gradient.objective import DividedObjective, MetaObjective
from metarl_run.algo.meta_optimizer.base import MetaOptimizer
from metarl_run.component import field
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution
from metarl_run.types import Rollout


class Pretrain(GradientBased, MetaLearner):
    """Train one policy on all tasks jointly; in a new task, start from it and adapt by gradient steps.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ L(θ, rollout₀ⁱ)        before any adaptation: MAML with K = 0

    Args:
        meta_optimizer: update rule of θ.

    Source: the "pretrained" baseline of Finn et al. (2017), arXiv:1703.03400, section 5.
    """

    first_order: bool = field(init=False, default=True)
    meta_optimizer: MetaOptimizer

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks", "divides")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.meta_optimizer.attach(self.meta_params)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(MetaObjective(self, self.joint_losses, live(0)))

    def divided_update(self, live: LiveDivided) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(DividedObjective(self, self.joint_losses, live(0)))

    def joint_losses(
        self,
        agents: Agents,
        rollouts: Sequence[Rollout],
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
        batch: MetaBatch | None = None,
    ) -> Losses:
        """L(θ, rollout₀) of each task, `[M]`; `batch` is the whole meta-batch if these tasks are a part of it."""
        output = self.output(agents[0].params, rollouts[0])
        batch = batch or self.meta_batch([(output, rollouts[0])])
        return self.loss_of(self.learner, output, rollouts[0], behaviour, surrogate, batch.normaliser)
