"""Exact planning in tabular MDPs over a finite horizon: the best policy and a given one, undiscounted.

Pure functions; any leading axes are tasks. A row of P sums to the probability that the episode goes on, mostly 1: what
comes after an end is worth 0.
"""

import torch
from torch import Tensor


def finite_horizon_q(transition: Tensor, mean_reward: Tensor, *, horizon: int) -> Tensor:
    """The optimal action values of every step of an episode, undiscounted.

        Qₜ(s, a) = r(s, a) + Σₛ′ P(s′ | s, a) maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    Args:
        transition: P, `[…, S, A, S]`.
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


def optimal_value(transition: Tensor, mean_reward: Tensor, *, horizon: int) -> Tensor:
    """The largest expected return that any policy has from each state: maxₐ Q₀(s, a) of `finite_horizon_q`.

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: r, `[…, S, A]`.
        horizon: H, steps per episode.

    Returns:
        `[…, S]` in float64.
    """
    return finite_horizon_q(transition.double(), mean_reward.double(), horizon=horizon)[..., 0, :, :].amax(-1)


def policy_value(transition: Tensor, mean_reward: Tensor, policy: Tensor, *, horizon: int) -> Tensor:
    """The expected return of a policy that sees the state alone, from each state.

        Vₜ(s) = Σₐ π(a | s) [r(s, a) + Σₛ′ P(s′ | s, a) Vₜ₊₁(s′)],        V_H = 0

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: r, `[…, S, A]`.
        policy: π(a | s), `[…, S, A]`, rows sum to 1; may have more leading axes than the MDPs.
        horizon: H, steps per episode.

    Returns:
        V₀, `[…, S]` in float64.

    Source: Bellman (1957), Dynamic Programming; Sutton & Barto (2018), Reinforcement Learning, Eq. 4.4.
    """
    π = policy.double()
    reward = torch.einsum("...sa,...sa->...s", π, mean_reward.double())
    step = torch.einsum("...sa,...san->...sn", π, transition.double())
    value = torch.zeros_like(reward)
    for _ in range(horizon):
        value = reward + torch.einsum("...sn,...n->...s", step, value)
    return value
