"""Q-learning: action values learned from their own greedy predictions."""

from typing import Any, ClassVar

import gymnasium
import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from metarl_run.kinds import Count, Fraction, Positive
from metarl_run.learner.base import BaseLearner, Output, num_actions
from metarl_run.maths.distributions import Categorical, Distribution
from metarl_run.maths.returns import masked_mean
from metarl_run.types import Rollout


class QLearning(BaseLearner):
    """Act ε-greedily on Q; update Q by its temporal-difference errors.

        δₜ = rₜ + γ (1 − dₜ) maxₐ Q(sₜ₊₁, a) − Q(sₜ, aₜ),        the first two terms held constant
        L  = c E[ h(δₜ) ],        h(δ) = ½ δ² where |δ| < 1, else |δ| − ½        over the task's steps

    so that a gradient step on L goes along c E[ δₜ ∇Q(sₜ, aₜ) ] with δ clipped to [−1, 1]. One adaptation is `epochs`
    such steps on one rollout.

    Args:
        discount: γ in [0, 1], per step.
        epsilon: ε in [0, 1], probability of a uniformly random action; the greedy actions share the rest.
        epochs: gradient steps per adaptation: each propagates values one step back along an episode.
        scale: c > 0. The contributions of a network's features add up, so a step size that suits a policy's logits
            overshoots here: α c should be below 2 / |features|².

    Differs from the paper: updates on whole episodes instead of single steps; with a network, neither replay memory nor
    target network: a rollout is discarded after its adaptation.
    Source: Watkins & Dayan (1992), Machine Learning 8; Mnih et al. (2015), Nature 518, for networks and clipped errors.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)

    discount: Fraction
    epsilon: Fraction
    epochs: Count
    scale: Positive

    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        return {"q": num_actions(action_space)}

    def policy(self, output: Output) -> Categorical:
        q = output["q"].detach()
        best = (q == q.amax(-1, keepdim=True)).to(q.dtype)
        probability = (1 - self.epsilon) * best / best.sum(-1, keepdim=True) + self.epsilon / q.shape[-1]
        return Categorical(probability.log())

    def loss(
        self, output: Output, rollout: Rollout, behaviour: Distribution | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        q = output["q"]
        continues = (~rollout.terminated).to(q.dtype)
        target = rollout.reward + self.discount * continues * q.detach()[..., 1:, :, :].amax(-1)
        δ = target - q[..., :-1, :, :].gather(-1, rollout.action.unsqueeze(-1)).squeeze(-1)
        error = masked_mean(δ.detach().abs(), rollout.alive).mean()
        return self.cost(δ, rollout, q.shape[-1]), {"td_error": error}

    def cost(self, δ: Tensor, rollout: Rollout, num_actions: int) -> Tensor:
        """c E[h(δ)] of each task."""
        return self.scale * masked_mean(huber_loss(δ, torch.zeros_like(δ), reduction="none"), rollout.alive)
