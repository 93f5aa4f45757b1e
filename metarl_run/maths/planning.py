"""Exact planning in tabular MDPs over a finite horizon: the optimal policy and a given one, undiscounted.

Pure functions; any leading axes are tasks. A row of P sums to the probability that the episode continues, mostly 1: the
value after an end is 0.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def finite_horizon_q(transition: Tensor, mean_reward: Tensor, *, horizon: int) -> Tensor:
    """Optimal action values at every step of an episode, undiscounted.

        Qₜ(s, a) = r(s, a) + Σₛ′ P(s′ | s, a) maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: r, `[…, S, A]`.
        horizon: H, steps per episode.

    Returns:
        Q, `[…, H, S, A]`, with the step t in [0, H) first.

    Source: Bellman (1957), Dynamic Programming.
    """
    return _backwards([mean_reward] * horizon, _expectation(transition))


def time_dependent_q(transition: Tensor, mean_reward: Tensor) -> Tensor:
    """Optimal action values where the reward depends on the step too.

        Qₜ(s, a) = rₜ(s, a) + Σₛ′ P(s′ | s, a) maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: rₜ, `[…, H, S, A]`.

    Returns:
        Q, `[…, H, S, A]`.

    Source: Bellman (1957), Dynamic Programming.
    """
    return _backwards(mean_reward.unbind(-3), _expectation(transition))


def extended_q(transition: Tensor, mean_reward: Tensor, width: Tensor, *, horizon: int) -> Tensor:
    """Optimistic action values, with the best transitions near P at every step: extended value iteration.

        Qₜ(s, a) = r(s, a) + max { Σₛ′ p(s′) Vₜ₊₁(s′) : ‖p − P(· | s, a)‖₁ ≤ w(s, a) },    V = maxₐ Q,    Q_H = 0

    Args:
        transition: P, `[…, S, A, S]`, whose rows sum to 1.
        mean_reward: r, `[…, S, A]`; an upper bound where rewards are uncertain too.
        width: w ≥ 0, `[…, S, A]`.
        horizon: H, steps per episode.

    Returns:
        Q, `[…, H, S, A]`.

    Source: Jaksch, Ortner and Auer (2010), "Near-optimal regret bounds for reinforcement learning".
    """
    return _backwards([mean_reward] * horizon, _optimistic_expectation(transition, width))


Expectation = Callable[[Tensor], Tensor]
"""Map from values of states, `[…, S]`, to their expectation after each action in each state, `[…, S, A]`."""


def _backwards(rewards: Sequence[Tensor], expected: Expectation) -> Tensor:
    """Qₜ = rₜ + expected(maxₐ Qₜ₊₁), from the last step of an episode to its first."""
    value = torch.zeros_like(rewards[-1][..., 0])
    q = []
    for reward in reversed(rewards):
        q.append(reward + expected(value))
        value = q[-1].amax(-1)
    return torch.stack(q[::-1], dim=-3)


def _expectation(transition: Tensor) -> Expectation:
    """V ↦ Σₛ′ P(s′ | s, a) V(s′)."""
    *shape, S = transition.shape
    rows = transition.reshape(-1, shape[-2] * shape[-1], S)
    return lambda value: torch.bmm(rows, value.reshape(-1, S, 1)).view(shape)


def _optimistic_expectation(transition: Tensor, width: Tensor) -> Expectation:
    """V ↦ max { Σₛ′ p(s′) V(s′) : ‖p − P(· | s, a)‖₁ ≤ w(s, a) } over distributions p.

        = v₁ + Σᵢ (vᵢ − vᵢ₋₁) min(1, P(V(s′) ≥ vᵢ | s, a) + w(s, a) / 2)        with v₁ ≤ v₂ ≤ … the sorted values

    The best p moves a mass of up to w / 2 from the worst states to the best one. So the states with values ≥ vᵢ have
    w / 2 more than under P, at most 1.
    """
    *shape, S = transition.shape
    columns = transition.movedim(-1, -3).reshape(-1, S, shape[-2] * shape[-1])
    half = width.reshape(-1, 1, columns.shape[-1]) / 2

    def expected(value: Tensor) -> Tensor:
        V = value.reshape(-1, S)
        v = V.sort(-1).values
        at_least = (V.unsqueeze(-2) >= v.unsqueeze(-1)).to(v.dtype)  # [M, i, s′]
        share = torch.bmm(at_least, columns).add_(half).clamp_(max=1)
        steps = v.diff(dim=-1, prepend=v[:, :1]).unsqueeze(-2)
        return (v[:, :1, None] + torch.bmm(steps, share)).view(shape)

    return expected


def optimal_value(transition: Tensor, mean_reward: Tensor, *, horizon: int) -> Tensor:
    """The largest expected return of any policy from each state: maxₐ Q₀(s, a) of `finite_horizon_q`.

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: r, `[…, S, A]`.
        horizon: H, steps per episode.

    Returns:
        `[…, S]` in float64.
    """
    return finite_horizon_q(transition.double(), mean_reward.double(), horizon=horizon)[..., 0, :, :].amax(-1)


def policy_value(transition: Tensor, mean_reward: Tensor, policy: Tensor, *, horizon: int) -> Tensor:
    """The expected return of a policy that depends on the state alone, from each state.

        Vₜ(s) = Σₐ π(a | s) [r(s, a) + Σₛ′ P(s′ | s, a) Vₜ₊₁(s′)],        V_H = 0

    Args:
        transition: P, `[…, S, A, S]`.
        mean_reward: r, `[…, S, A]`.
        policy: π(a | s), `[…, S, A]`, rows sum to 1; may have more leading axes than the MDPs.
        horizon: H, steps per episode.

    Returns:
        V₀, `[…, S]` in float64.

    Source: Bellman (1957), Dynamic Programming; Sutton & Barto (2018), Reinforcement Learning.
    """
    π = policy.double()
    reward = torch.einsum("...sa,...sa->...s", π, mean_reward.double())
    step = torch.einsum("...sa,...san->...sn", π, transition.double())
    value = torch.zeros_like(reward)
    for _ in range(horizon):
        value = reward + torch.einsum("...sn,...n->...s", step, value)
    return value
