"""LinUCB: upper confidence bounds of a linear model of the arms."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import deterministic_logits
from metarl_run.algo.bayes.gaussian_bandit_agent import GaussianBanditAgent
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import NonNegative, Positive
from metarl_run.types import Memory


class LinearUCB(GaussianBanditAgent):
    """Pull the arm with the highest upper bound of a ridge regression on its features, the first one on ties.

        argmaxₐ ⟨φ(a), θ̂⟩ + c ‖φ(a)‖_{A⁻¹},        A = λI + Σ φ φᵀ,        θ̂ = A⁻¹ Σ r φ

    Args:
        exploration: c ≥ 0, scale of the bonus.
        ridge: λ > 0.
        family: has `features`, φ, `[A, d]`.

    Source: Li et al. (2010), arXiv:1003.0146; with c = 1 as in Lee et al. (2023), arXiv:2306.14892.
    """

    requires: ClassVar[tuple[str, ...]] = ("linear_bandit",)

    exploration: NonNegative
    ridge: Positive
    family: TaskFamily

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        φ = self.family.features.to(memory["arm_pulls"].device)  # type: ignore[attr-defined]
        unit = self.ridge * torch.eye(φ.shape[1], device=φ.device)
        design = unit + torch.einsum("mba,ad,ae->mbde", memory["arm_pulls"], φ, φ)
        θ = torch.linalg.solve(design, memory["total_reward"] @ φ)
        width = torch.einsum("ad,mbde,ae->mba", φ, torch.linalg.inv(design), φ).clamp(min=0).sqrt()
        return deterministic_logits((θ @ φ.T + self.exploration * width).argmax(-1), self.num_arms)
