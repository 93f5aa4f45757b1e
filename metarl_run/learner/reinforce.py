"""REINFORCE: the policy gradient on whole episodes."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.kinds import Fraction, Positive, checked
from metarl_run.learner.base import Output
from metarl_run.learner.linear_baseline import linear_baseline
from metarl_run.learner.policy_gradient import Average, PolicyGradient, PolicyKind, over_steps
from metarl_run.learner.surrogate import SURROGATES
from metarl_run.returns import discounted_returns, mean_of_others
from metarl_run.types import Rollout


class Reinforce(PolicyGradient):
    """Make actions more likely by how much better than usual the episode went after them.

        L = − E[ cₜ · gain(log πₜ, log π_oldₜ, Gₜ, bₜ) ],        Gₜ = Σ_t′≥t γ^(t′−t) r_t′

    Args:
        action_space: of the task family.
        surrogate: the gain, see `metarl_run.learner.surrogate`: all have the same first derivative.
        discount: γ in [0, 1], per step.
        discount_steps: cₜ = γᵗ; else 1.
        baseline: bₜ, over the n of the task's B episodes alive at step t: `time` is the mean of Gₜ (its own episode
            included, which shrinks the gradient by 1 − 1/n), `others` the mean of the other episodes' Gₜ (unbiased),
            `linear` a least-squares fit, see `metarl_run.learner.linear_baseline`, `none` 0.
        standardise: G − b to mean 0 and deviation 1 over the task's steps.
        average: E over `steps` or over `episodes`.
        policy: `auto`, `categorical`, `gaussian` or `gaussian_state_dependent`.
        initial_deviation: of a Gaussian policy.

    Differs from the paper, unless average=episodes and standardise=false: the step size depends neither on how long
    episodes are nor on the unit of the reward.
    Source: Williams (1992), Machine Learning 8.
    """

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient", "actor_only", "any_surrogate")

    @checked
    def __init__(
        self,
        *,
        action_space: gymnasium.Space[Any],
        surrogate: Literal["score", "ratio", "dice", "loaded_dice"],
        discount: Fraction,
        discount_steps: bool,
        baseline: Literal["none", "time", "others", "linear"],
        standardise: bool,
        average: Average,
        policy: PolicyKind,
        initial_deviation: Positive,
    ) -> None:
        super().__init__(
            action_space,
            surrogate=SURROGATES[surrogate],
            discount=discount,
            discount_steps=discount_steps,
            standardise=standardise,
            average=average,
            policy=policy,
            initial_deviation=initial_deviation,
        )
        self.baseline = baseline

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
