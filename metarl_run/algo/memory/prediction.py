"""Prediction of rewards by an agent's own network: what its memory holds, learned from every step."""

from torch import Tensor

from metarl_run.learner.base import Output, rows
from metarl_run.maths.returns import masked_mean
from metarl_run.types import Rollout

REWARD = "reward"
"""The head: r̂ of every action in the current state."""


def reward_error(output: Output, lifetimes: Rollout) -> Tensor:
    """Mean over steps of (r̂(hₜ, sₜ, aₜ) − rₜ)², for the actions that were taken.

    The policy gradient of an action that is hardly taken is hardly anything, so a policy that has settled learns no
    more of what it could have stored; a regression has a gradient at every step, and shares the memory with the policy.

    Args:
        output: of the network, `[T + 1, N, ·]`.
        lifetimes: `[T, N, …]`.

    Source: Jaderberg et al. (2017), arXiv:1611.05397, section 3.2, for rewards to predict beside a policy.
    """
    predicted = rows(output)[REWARD].gather(-1, lifetimes.action.unsqueeze(-1)).squeeze(-1)
    return masked_mean((predicted - lifetimes.reward) ** 2, lifetimes.alive)
