"""The action values that a task turned out to have."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.maths.planning import finite_horizon_q
from metarl_run.types import Rollout

NEVER = -1e6  # the reward of what was never tried: so low that no best action is among it


def hindsight_q(
    rollout: Rollout, *, num_actions: int, horizon: int
) -> tuple[Float[Tensor, "M H S A"], Bool[Tensor, "M H S A"]]:
    """Where Q-learning settles if it sweeps again and again over all that all slots of a task lived through.

        Qₜ(s, a) = mean over the visits to (s, a), in all slots, of r + maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    The largest value is that of the actions that were tried. What follows the last step of an episode is not seen, only
    its reward; a pair that was tried there alone is taken to lead to any state in which something was tried.

    Args:
        rollout: lifetimes in M tasks.
        num_actions: A.
        horizon: H, steps of an episode, at most.

    Returns:
        Q, and where it is known: of pairs whose next state was seen, and at the last step of all that were tried.

    Source: Watkins & Dayan (1992), Machine Learning 8: its update, at the fixed point.
    """
    M, S, A = len(rollout.reward), rollout.observation.shape[-1], num_actions
    state = rollout.observation.argmax(-1)
    pair = (state[:, :-1] * A + rollout.action).flatten(1)
    alive, followed = rollout.alive.flatten(1), (rollout.alive & ~rollout.ended).flatten(1)
    nothing = rollout.reward.new_zeros(M, S * A * S)
    visits = nothing[:, : S * A].scatter_add(1, pair, alive.float()).view(M, S, A)
    total = nothing[:, : S * A].scatter_add(1, pair, rollout.reward.flatten(1)).view(M, S, A)
    transitions = nothing.scatter_add(1, pair * S + state[:, 1:].flatten(1), followed.float()).view(M, S, A, S)
    tried, support = visits > 0, transitions.sum(-1, keepdim=True)
    anywhere = tried.any(-1).float()
    anywhere = (anywhere / anywhere.sum(-1, keepdim=True))[:, None, None]
    P = torch.where(support > 0, transitions / support.clamp(min=1), anywhere)
    reward = torch.where(tried, total / visits.clamp(min=1), NEVER)
    known = (support.squeeze(-1) > 0).unsqueeze(1).repeat(1, horizon, 1, 1)
    known[:, -1] = tried
    return finite_horizon_q(P, reward, horizon=horizon), known
