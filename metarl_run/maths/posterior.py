"""Exact posterior of bandits whose arms' means are uniform on [0, 1] a priori: the probability that an arm is best."""

import torch
from jaxtyping import Float
from torch import Tensor

POINTS = 256
"""Of the quadrature: midpoints of as many equal parts of [0, 1]. An arm of deviation .3 pulled 500 times has a
posterior that is 7 of them wide."""

TINY = 1e-30


def best_of_bernoulli(
    pulls: Float[Tensor, "*N A"], successes: Float[Tensor, "*N A"], points: int = POINTS
) -> Float[Tensor, "*N A"]:
    """P(arm a has the largest mean | data) of arms that pay 1 with probability μ, else 0: Beta posteriors.

        p(μ | s, n) ∝ μˢ (1 − μ)ⁿ⁻ˢ

    Args:
        pulls: n of each arm.
        successes: s of each arm, the sum of its rewards.
        points: of the quadrature.
    """
    μ = midpoints(points, pulls)
    s, n = successes.unsqueeze(-1), pulls.unsqueeze(-1)
    return best_of(s * μ.log() + (n - s) * (1 - μ).log())


def best_of_gaussian(
    pulls: Float[Tensor, "*N A"], rewards: Float[Tensor, "*N A"], deviation: float, points: int = POINTS
) -> Float[Tensor, "*N A"]:
    """P(arm a has the largest mean | data) of arms that pay N(μ, σ²): Gaussian posteriors, truncated to [0, 1].

        p(μ | Σr, n) ∝ exp((μ Σr − n μ² / 2) / σ²)

    Args:
        pulls: n of each arm.
        rewards: Σr, the sum of the rewards of each arm.
        deviation: σ > 0.
        points: of the quadrature.
    """
    μ = midpoints(points, pulls)
    return best_of((μ * rewards.unsqueeze(-1) - pulls.unsqueeze(-1) * μ**2 / 2) / deviation**2)


def best_of(log_density: Float[Tensor, "*N A points"]) -> Float[Tensor, "*N A"]:
    """P(a is best) = ∫ pₐ(μ) Π_b F_b(μ) dμ over the other arms b, from densities at midpoints, up to a factor each."""
    p = log_density.softmax(-1)
    log_below = (p.cumsum(-1) - p / 2).clamp(min=TINY).log()  # F at the midpoints
    others = log_below.sum(-2, keepdim=True) - log_below
    best = (p * others.exp()).sum(-1)
    return best / best.sum(-1, keepdim=True)


def midpoints(points: int, like: Tensor) -> Tensor:
    """Of `points` equal parts of [0, 1]."""
    return (torch.arange(points, dtype=like.dtype, device=like.device) + 0.5) / points


def total_variation(p: Float[Tensor, "*N A"], q: Float[Tensor, "*N A"]) -> Float[Tensor, "*N"]:
    """½ Σₐ |p(a) − q(a)|, in [0, 1]."""
    return (p - q).abs().sum(-1) / 2


def experience(
    action: Tensor, reward: Float[Tensor, "T N"], num_arms: int
) -> tuple[Float[Tensor, "T N A"], Float[Tensor, "T N A"]]:
    """Pulls of each arm, and the sum of its rewards, before every step."""
    pulled = torch.nn.functional.one_hot(action, num_arms).to(reward.dtype)
    earned = pulled * reward.unsqueeze(-1)
    return pulled.cumsum(0) - pulled, earned.cumsum(0) - earned
