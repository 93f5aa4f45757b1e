"""ProMP: several proximal meta-updates on the same lifetimes."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Live, Losses
from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import Count, NonNegative, Positive
from metarl_run.learner.surrogate import clipped


class ProMP(MAML):
    """MAML with PPO's meta-update: clipped ratios after adaptation, and a KL penalty on the policies before it.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)
        learn:  ∇_θ  (1/M) Σᵢ [ L_clip(φ_Kⁱ(θ), rollout_Kⁱ) + η (1/K) Σₖ KL(π_oldₖⁱ ‖ π_φₖⁱ(θ)) ]        k in [0, K)

    several times on the same lifetimes; each time φₖ(θ) is adapted anew, with likelihood ratios relative to the
    policies that collected the rollouts. `score` has no ratio: with it, adapting anew is correct only in the first of
    these meta-updates. Afterwards η doubles if the KL is above 1.5 times its target, and halves below target / 1.5.

    The paper's learner is REINFORCE with surrogate=ratio, "LVC": `learner=reinforce_ratio`.

    Args:
        epochs: meta-updates per lifetime.
        clip: ε of L_clip.
        kl_weight: initial η.
        kl_target: target of the KL, nats.
        meta_optimizer: update rule of θ.

    Differs from the paper: one η for all steps k, adapted by their mean KL; the paper has one for each k.
    Source: Rothfuss et al. (2019), arXiv:1810.06784, Eq. 12, 13 and Algorithm 1; Schulman et al. (2017),
    arXiv:1707.06347, section 4, for the adaptive η.
    """

    requires: ClassVar[tuple[str, ...]] = ("policy_gradient",)

    epochs: Count
    clip: Positive
    kl_weight: NonNegative
    kl_target: Positive
    first_order: bool = field(init=False, default=False)
    head_only: bool = field(init=False, default=False)
    sampling_correction: bool = field(init=False, default=False)
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.surrogate = clipped(self.clip)
        self.η = torch.tensor(float(self.kl_weight), device="cpu")

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        objective = MetaObjective(self, self.meta_losses, live(self.adaptation_steps))
        first: dict[str, Tensor] = {}
        for _ in range(self.epochs):
            loss, gradients, metrics = objective.gradient(self.meta_optimizer.tensors, self.penalised_losses)
            norm = self.meta_optimizer.step(gradients, objective.task_at_fault)
            first = first or {"loss": loss, "gradient_norm": norm, **metrics}
        with torch.no_grad():
            kl = torch.cat([self.divergence(part, part.agents()) for part in objective.parts]).mean()
        self.adjust(kl)
        return {**first, "kl": kl, "kl_weight": self.η.clone()}

    def penalised_losses(self, objective: MetaObjective) -> Losses:
        """L_clip and the KL penalty of each task, `[M]`."""
        agents = objective.agents()
        losses, metrics = objective.proximal_losses(agents, self.surrogate)
        return losses + self.η * self.divergence(objective, agents), metrics

    def divergence(self, objective: MetaObjective, agents: Any) -> Tensor:
        """(1/K) Σₖ KL(π_oldₖ ‖ π_φₖ(θ)) of each task, `[M]`, over k in [0, K)."""
        return torch.stack([objective.divergence(agents, k) for k in range(self.adaptation_steps)]).mean(0)

    def adjust(self, kl: Tensor) -> None:
        """Adapt η to keep the KL between target / 1.5 and 1.5 target."""
        if kl > 1.5 * self.kl_target:
            self.η *= 2
        elif kl < self.kl_target / 1.5:
            self.η /= 2

    def state(self) -> dict[str, Any]:
        return {**super().state(), "kl_weight": self.η}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.η.copy_(state["kl_weight"])
