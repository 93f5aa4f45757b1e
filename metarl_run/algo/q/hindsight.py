"""Action values of a task in hindsight, from all experience collected in it."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.maths.planning import finite_horizon_q
from metarl_run.types import Rollout

UNTRIED = -1e6  # reward of untried pairs: so low that no optimal action is among them


def hindsight_q(
    rollout: Rollout, *, num_actions: int, horizon: int
) -> tuple[Float[Tensor, "M H S A"], Bool[Tensor, "M H S A"]]:
    """Fixed point of Q-learning on the pooled experience of all envs of a task.

        Qₜ(s, a) = mean over the visits to (s, a), in all envs, of r + maxₐ′ Qₜ₊₁(s′, a′),        Q_H = 0

    The maximum is over tried actions. The next state of an episode's last step is not observed; a pair that was tried
    only there is assumed to lead to a uniformly random state among those with a tried action.

    Args:
        rollout: lifetimes in M tasks.
        num_actions: A.
        horizon: H, maximum length of an episode.

    Returns:
        Q, and a mask of known values: pairs with an observed next state, and at the last step all tried pairs.

    Source: Watkins & Dayan (1992), Machine Learning 8, for the update.
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
    reward = torch.where(tried, total / visits.clamp(min=1), UNTRIED)
    known = (support.squeeze(-1) > 0).unsqueeze(1).repeat(1, horizon, 1, 1)
    known[:, -1] = tried
    return finite_horizon_q(P, reward, horizon=horizon), known
