"""Actor-critic: the policy gradient with a learned value function."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
from torch import Tensor

from metarl_run.kinds import Fraction, NonNegative, checked
from metarl_run.learner.base import BaseLearner, num_actions
from metarl_run.policy import Categorical
from metarl_run.returns import generalized_advantages, masked_mean, standardised
from metarl_run.types import Rollout


class ActorCritic(BaseLearner):
    """Make actions more likely by their advantage, and let the value function follow the returns.

        L = − E[ log π(aₜ | sₜ) Âₜ ] + c_v E[ (V(sₜ) − (Âₜ + vₜ))² ] − c_e E[ H(π(· | sₜ)) ],    vₜ = V(sₜ), constant

    Args:
        discount: γ in [0, 1], per step.
        gae_lambda: λ in [0, 1] of the advantages Â.
        value_weight: c_v ≥ 0.
        entropy_weight: c_e ≥ 0.
        standardise: Â in the first term to mean 0 and deviation 1 over the task's steps.

    Source: Mnih et al. (2016), arXiv:1602.01783, section 4.2; Schulman et al. (2016), arXiv:1506.02438, Eq. 16 and 28.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)

    @checked
    def __init__(
        self,
        *,
        discount: Fraction,
        gae_lambda: Fraction,
        value_weight: NonNegative,
        entropy_weight: NonNegative,
        standardise: bool,
    ) -> None:
        self.discount, self.gae_lambda, self.standardise = discount, gae_lambda, standardise
        self.value_weight, self.entropy_weight = value_weight, entropy_weight

    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        return {"policy": num_actions(action_space), "value": 1}

    def policy(self, output: Mapping[str, Tensor]) -> Categorical:
        return Categorical(output["policy"])

    def loss(self, output: Mapping[str, Tensor], rollout: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        alive, value = rollout.alive, output["value"].squeeze(-1)
        v = value.detach()
        advantage = generalized_advantages(
            rollout.reward, v, rollout.terminated, rollout.ended, discount=self.discount, gae_lambda=self.gae_lambda
        )
        target = advantage + v[..., :-1, :]
        weight = standardised(advantage, alive) if self.standardise else advantage
        policy = Categorical(output["policy"][..., :-1, :, :])
        value_error = masked_mean((value[..., :-1, :] - target) ** 2, alive)
        entropy = masked_mean(policy.entropy(), alive)
        gain = masked_mean(policy.log_prob(rollout.action) * weight, alive)
        loss = -gain + self.value_weight * value_error - self.entropy_weight * entropy
        return loss, {"value_error": value_error.detach().mean(), "entropy": entropy.detach().mean()}
