"""REINFORCE: the policy gradient on whole episodes."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from metarl_run.component import field
from metarl_run.learner.base import Output
from metarl_run.learner.linear_baseline import linear_baseline
from metarl_run.learner.policy_gradient import PolicyGradient, over_steps
from metarl_run.learner.surrogate import SURROGATES, SurrogateName
from metarl_run.maths.returns import discounted_returns, mean_of_others
from metarl_run.types import Rollout


class Reinforce(PolicyGradient):
    """Policy gradient with Monte Carlo returns and an optional baseline.

        L = − E[ cₜ · gain(log πₜ, log π_oldₜ, Gₜ, bₜ) ],        Gₜ = Σ_t′≥t γ^(t′−t) r_t′

    Args:
        surrogate: see `metarl_run.learner.surrogate`: all have the same first derivative.
        baseline: bₜ, over the n of the task's B episodes alive at step t: `time` is the mean of Gₜ (including the
            episode itself, which shrinks the gradient by 1 − 1/n), `others` the mean of the other episodes' Gₜ
            (unbiased), `linear` a least-squares fit, see `metarl_run.learner.linear_baseline`, `none` 0.

    Differs from the paper, unless average=episodes and standardise=false: the step size depends neither on the length
    of episodes nor on the unit of the reward.
    Source: Williams (1992), Machine Learning 8.
    """

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient", "actor_only", "any_surrogate")

    surrogate_name: SurrogateName = field(alias="surrogate")
    baseline: Literal["none", "time", "others", "linear"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.surrogate = SURROGATES[self.surrogate_name]

    def returns_and_baseline(self, output: Output, rollout: Rollout) -> tuple[Tensor, Tensor]:
        alive = rollout.alive
        returns = discounted_returns(rollout.reward, rollout.ended, discount=over_steps(self.discount))
        match self.baseline:
            case "time":
                living = alive.sum(-1, keepdim=True).clamp(min=1)
                return returns, ((returns * alive).sum(-1, keepdim=True) / living).expand_as(returns)
            case "others":
                return returns, mean_of_others(returns, alive)
            case "linear":
                observation = rollout.observation[..., :-1, :, :]
                return returns, linear_baseline(observation, returns, alive, rollout.ended)
        return returns, torch.zeros_like(returns)
