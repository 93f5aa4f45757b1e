"""Returns and advantages of one task's steps `[T, B]`: pure functions of tensors, any leading axes carried along."""

import torch
from torch import Tensor


def discounted_returns(reward: Tensor, ended: Tensor, *, discount: float) -> Tensor:
    """Rewards-to-go within each episode.

        Gₜ = rₜ + γ (1 − endₜ) Gₜ₊₁,        G_T = 0

    Args:
        reward: rₜ, `[…, T, B]`, 0 where no step was taken.
        ended: step t was the last of its episode.
        discount: γ in [0, 1], per step.
    """
    factor = (discount * (~ended).to(reward.dtype)).unbind(-2)
    rewards = reward.unbind(-2)
    total = torch.zeros_like(rewards[0])
    returns = []
    for r, γ in zip(reversed(rewards), reversed(factor), strict=True):
        total = r + γ * total
        returns.append(total)
    return torch.stack(returns[::-1], dim=-2)


def generalized_advantages(
    reward: Tensor, value: Tensor, terminated: Tensor, ended: Tensor, *, discount: float, gae_lambda: float
) -> Tensor:
    """Advantages by exponentially weighted TD errors.

        δₜ = rₜ + γ (1 − dₜ) vₜ₊₁ − vₜ
        Aₜ = δₜ + γ λ (1 − endₜ) Aₜ₊₁,        A_T = 0

    λ = 1 gives returns minus values; λ = 0 gives the TD error.

    Args:
        reward: rₜ, `[…, T, B]`.
        value: vₜ for t in [0, T], `[…, T + 1, B]`; row t + 1 bootstraps an episode truncated at t.
        terminated: dₜ, the MDP ended at step t. Truncation is not termination: it keeps its bootstrap.
        ended: the episode ended at step t, for either reason: nothing flows back across it.
        discount: γ in [0, 1], per step.
        gae_lambda: λ in [0, 1].

    Source: Schulman et al. (2016), arXiv:1506.02438, Eq. 16.
    """
    δ = reward + discount * (~terminated).to(reward.dtype) * value[..., 1:, :] - value[..., :-1, :]
    return discounted_returns(δ, ended, discount=discount * gae_lambda)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over time and episodes of the entries where `mask` is true: `[…, T, B]` → `[…]`; 0 where none is."""
    return (x * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1)


def standardised(x: Tensor, mask: Tensor) -> Tensor:
    """`x` with mean 0 and deviation 1 over the task's own entries where `mask` is true, and 0 elsewhere."""
    mean = masked_mean(x, mask)[..., None, None]
    deviation = masked_mean((x - mean) ** 2, mask).sqrt()[..., None, None]
    return (x - mean) / (deviation + 1e-8) * mask
