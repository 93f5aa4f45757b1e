"""Bandits in which one arm always pays the same, more than a first pull of any other arm promises."""

from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl_run.env.bandit import BanditTask
from metarl_run.env.base import Split
from metarl_run.env.gaussian_arms import GaussianArms
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions, Real

Arms = Annotated[dict[str, Any], Distributions("mean")]


class DeceptiveBandit(GaussianArms):
    """Find the best of arms of which the first is known and the others are worse on average.

        r = μ₀ of arm 0,        r ~ N(μ(a), σ²) of the others

    With μ₀ above the mean of μ(a), every pull of another arm costs reward at first: an agent that explores only as long
    as that pays at once always pulls arm 0. Task: μ(a) of all arms but the first. Observation: 1, the only state
    one-hot. Action: one of A arms. Termination: at every step. Optimal expected return: maxₐ μ(a).

    Args:
        sure_reward: μ₀, of every pull of arm 0.
        meta_train: the distribution of each other arm's mean in meta-training.
        meta_test: the same in meta-testing.

    Source: Norman & Clune (2024), arXiv:2307.02276, whose text gives the noise a variance of 1/2 and whose code a
    standard deviation of 1/2.
    """

    sure_reward: Real
    meta_train: Arms
    meta_test: Arms

    def __post_init__(self) -> None:
        super().__post_init__()
        self.arms: dict[Split, Arms] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> BanditTask:
        mean = sample(self.arms[split]["mean"], num_tasks * self.num_arms, generator).view(num_tasks, 1, self.num_arms)
        mean = mean.clone()  # a constant's is a view of one number
        mean[..., 0] = self.sure_reward
        return BanditTask(mean_reward=mean)

    def noise_of(self, action: Int[Tensor, "M B"], ε: Float[Tensor, "M B"]) -> Float[Tensor, "M B"]:
        return ε * (action > 0)
