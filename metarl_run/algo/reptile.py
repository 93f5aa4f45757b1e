"""Reptile: move the initialisation towards the adapted parameters."""

from typing import ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner, adapt_in_parts
from metarl_run.algo.gradient.base import GradientBased
from metarl_run.algo.gradient.objective import task_at_fault
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import Count


class Reptile(GradientBased, MetaLearner):
    """Move the initialisation towards the parameters that gradient steps in each task reach.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  (1/M) Σᵢ (θ − φ_Kⁱ) / α        in place of a gradient; no differentiation through the steps

    Args:
        adaptation_steps: K in meta-training; K = 1 is joint training: only K > 1 meta-learns.
        meta_optimizer: update rule of θ.

    Differs from the paper: tasks are policy-gradient problems, and each step sees fresh episodes of the adapted policy.
    Source: Nichol et al. (2018), arXiv:1803.02999, including the division by α.
    """

    adaptation_steps: Count
    first_order: bool = field(init=False, default=True)
    meta_optimizer: GradientRule

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.meta_optimizer.attach(self.meta_params)

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        with torch.no_grad():
            # The last rollout is learned from as well, so K steps need K rollouts.
            lifetime = live(self.adaptation_steps - 1)
            last = lifetime.agents[-1], lifetime.rollouts[-1]
            reached = adapt_in_parts(self, *last, lifetime.tasks_at_once).params
            directions = [(θ - reached[name]) / self.inner_lr for name, θ in self.meta_params.items()]
        norm = self.meta_optimizer.step([rows.mean(0) for rows in directions], lambda: task_at_fault(directions))
        return {"gradient_norm": norm}
