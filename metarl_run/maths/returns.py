"""Returns and advantages of one task's steps `[T, B]`: pure functions of tensors; leading axes are carried along."""

import torch
from torch import Tensor


def discounted_returns(reward: Tensor, ended: Tensor, *, discount: float | Tensor) -> Tensor:
    """Rewards-to-go within each episode.

        Gₜ = rₜ + γ (1 − endₜ) Gₜ₊₁,        G_T = 0

    Args:
        reward: rₜ, `[…, T, B]`, 0 in padding.
        ended: step t was the last of its episode.
        discount: γ in [0, 1], per step; or γₜ, `[…, T, B]`.
    """
    factor = (discount * (~ended).to(reward.dtype)).unbind(-2)
    rewards = reward.unbind(-2)
    total = torch.zeros_like(rewards[0])
    returns = []
    for r, γ in zip(reversed(rewards), reversed(factor), strict=True):
        total = torch.addcmul(r, γ, total)
        returns.append(total)
    return torch.stack(returns[::-1], dim=-2)


def generalized_advantages(
    reward: Tensor,
    value: Tensor,
    terminated: Tensor,
    ended: Tensor,
    *,
    discount: float | Tensor,
    gae_lambda: float | Tensor,
) -> Tensor:
    """Advantages by exponentially weighted TD errors.

        δₜ = rₜ + γ (1 − dₜ) vₜ₊₁ − vₜ
        Aₜ = δₜ + γ λ (1 − endₜ) Aₜ₊₁,        A_T = 0

    λ = 1 gives returns minus values; λ = 0 gives the TD error.

    Args:
        reward: rₜ, `[…, T, B]`.
        value: vₜ for t in [0, T], `[…, T + 1, B]`; row t + 1 bootstraps an episode truncated at t.
        terminated: dₜ, the MDP ended at step t. Truncation is not termination: it keeps its bootstrap.
        ended: the episode ended at step t, for either reason; no term crosses it.
        discount: γ in [0, 1], per step; or γₜ of each step, `[…, T, B]`.
        gae_lambda: λ in [0, 1]; or of each step.

    Source: Schulman et al. (2016), arXiv:1506.02438, Eq. 16.
    """
    δ = reward + discount * (~terminated).to(reward.dtype) * value[..., 1:, :] - value[..., :-1, :]
    return discounted_returns(δ, ended, discount=discount * gae_lambda)


def first_step(ended: Tensor) -> Tensor:
    """The index of the first step of each step's episode, `[…, T, B]`."""
    t = torch.arange(ended.shape[-2], device=ended.device).unsqueeze(-1)
    begins = torch.zeros_like(ended)
    begins[..., 1:, :] = ended[..., :-1, :]
    return torch.where(begins, t, 0).cummax(-2).values


def running_sum(x: Tensor, ended: Tensor) -> Tensor:
    """Sums from the beginning of the episode up to and including each step, `[…, T, B]`.

    Args:
        x: the terms.
        ended: step t was the last of its episode.
    """
    total = x.cumsum(-2)
    before = (total - x).gather(-2, first_step(ended).expand_as(x))
    return total - before


def discount_weights(ended: Tensor, *, discount: float | Tensor, dtype: torch.dtype) -> Tensor:
    """γᵗ with t counted from the beginning of each step's episode, `[…, T, B]`; γ of all steps, or `[…, 1, 1]`."""
    t = torch.arange(ended.shape[-2], device=ended.device).unsqueeze(-1)
    return torch.as_tensor(discount, dtype=dtype, device=ended.device) ** (t - first_step(ended))


def mean_of_others(x: Tensor, mask: Tensor) -> Tensor:
    """The mean of `x` at each step over the task's other environments where `mask` is true, else 0: `[…, T, B]`.

    It does not depend on the environment's own episode, so it is an unbiased baseline.

    Source: Kool, van Hoof & Welling (2019), "Buy 4 REINFORCE samples, get a baseline for free!".
    """
    kept = x * mask
    others = (mask.sum(-1, keepdim=True) - mask.to(torch.int64)).clamp(min=1)
    return (kept.sum(-1, keepdim=True) - kept) / others


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over time and episodes of the entries where `mask` is true: `[…, T, B]` → `[…]`; 0 where none is."""
    return (x * mask).sum((-2, -1)) / mask.sum((-2, -1)).clamp(min=1)


ROUNDING = 1e-5
"""A spread below this fraction of the values themselves is rounding noise."""


def unit_of(square: Tensor, magnitude: Tensor) -> Tensor:
    """The divisor that normalises to a spread of 1: the spread, or ∞ where it is rounding noise.

    Args:
        square: of the spread, such as a variance; the result has a derivative where it is 0.
        magnitude: mean square of the values.
    """
    return torch.where(square > ROUNDING**2 * magnitude, square, torch.inf).sqrt()


def num_episodes(alive: Tensor, ended: Tensor) -> Tensor:
    """The number of episodes begun, over all environments: `[…, T, B]` → `[…]`."""
    t = torch.arange(ended.shape[-2], device=ended.device).unsqueeze(-1)
    return (alive & (first_step(ended) == t)).sum((-2, -1))
