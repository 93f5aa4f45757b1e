"""Exact planning in tabular MDPs: value iteration over a finite horizon. Pure functions; any leading axes are tasks."""

import torch
from torch import Tensor


def finite_horizon_q(transition: Tensor, mean_reward: Tensor, *, horizon: int) -> Tensor:
    """The optimal action values of every step of an episode, undiscounted.

        Qₜ(s, a) = r(s, a) + Σₛ′ P(s′ | s, a) maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    Args:
        transition: P, `[…, S, A, S]`, rows sum to 1.
        mean_reward: r, `[…, S, A]`.
        horizon: H, steps per episode.

    Returns:
        Q, `[…, H, S, A]`, first axis of an MDP the step t in [0, H).

    Source: Bellman (1957), Dynamic Programming.
    """
    value = torch.zeros_like(mean_reward[..., 0])
    q = []
    for _ in range(horizon):
        q.append(mean_reward + torch.einsum("...ijk,...k->...ij", transition, value))
        value = q[-1].amax(-1)
    return torch.stack(q[::-1], dim=-3)
