"""REINFORCE: the policy gradient on whole episodes."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import gymnasium
from torch import Tensor

from metarl_run.kinds import Fraction, checked
from metarl_run.learner.base import BaseLearner, num_actions
from metarl_run.policy import Categorical
from metarl_run.returns import discounted_returns, masked_mean, standardised
from metarl_run.types import Rollout


class Reinforce(BaseLearner):
    """Make actions more likely by how much better than usual the episode went after them.

        Aₜ = Gₜ − bₜ,        L = − E[ log π(aₜ | sₜ) Aₜ ]        over the steps of the task's episodes

    Args:
        discount: γ in [0, 1], per step.
        baseline: `time` is bₜ = mean of Gₜ over the task's episodes alive at step t; `none` is 0.
        standardise: divide A by its deviation over the task's steps (and subtract its mean).

    The gradient of L is an unbiased estimate of the return's, up to the mean length of an episode; its second
    derivative is not an estimate of the return's Hessian (Foerster et al. 2018, arXiv:1802.05098, section 3).

    Differs from the paper: the mean over steps, not over episodes of sums over steps, so the step size does not depend
    on how long episodes are.
    Source: Williams (1992), Machine Learning 8, Eq. 11.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)

    @checked
    def __init__(self, *, discount: Fraction, baseline: Literal["none", "time"], standardise: bool) -> None:
        self.discount, self.baseline, self.standardise = discount, baseline, standardise

    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        return {"policy": num_actions(action_space)}

    def policy(self, output: Mapping[str, Tensor]) -> Categorical:
        return Categorical(output["policy"])

    def advantages(self, rollout: Rollout) -> Tensor:
        """Aₜ, a constant of the loss."""
        alive = rollout.alive
        advantage = discounted_returns(rollout.reward, rollout.ended, discount=self.discount)
        if self.baseline == "time":
            living = alive.sum(-1, keepdim=True).clamp(min=1)
            advantage = (advantage - (advantage * alive).sum(-1, keepdim=True) / living) * alive
        return standardised(advantage, alive) if self.standardise else advantage

    def loss(self, output: Mapping[str, Tensor], rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        policy = Categorical(output["policy"][..., :-1, :, :])
        loss = -masked_mean(policy.log_prob(rollout.action) * self.advantages(rollout), rollout.alive)
        return loss, {}
