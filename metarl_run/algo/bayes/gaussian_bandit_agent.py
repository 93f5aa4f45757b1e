"""Base of the classical agents for Gaussian bandits: they count pulls, add up rewards and learn nothing else."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import CountingAgent
from metarl_run.types import Memory


class GaussianBanditAgent(CountingAgent):
    """Keep each arm's number of pulls n(a) and sum of rewards Σr(a), and choose by these.

    The memory holds `arm_pulls` and `total_reward`.
    """

    requires: ClassVar[tuple[str, ...]] = ("gaussian_bandit",)

    def statistics(self, arms: Float[Tensor, "M 1 A"]) -> Memory:
        return {"arm_pulls": torch.zeros_like(arms), "total_reward": torch.zeros_like(arms)}

    def terms(self, happened: Float[Tensor, "M B 1"], reward: Float[Tensor, "M B 1"]) -> Memory:
        return {"arm_pulls": happened, "total_reward": happened * reward}
