"""Bandits whose arms' means are linear in features that all tasks share."""

from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from metarl_run.env.bandit import BanditTask
from metarl_run.env.base import Split
from metarl_run.env.gaussian_arms import GaussianArms
from metarl_run.env.parameter import sample
from metarl_run.kinds import Count, Distributions, Whole

Coefficients = Annotated[dict[str, Any], Distributions("coefficient")]


class LinearBandit(GaussianArms):
    """Learn from each pull about all arms, whose means lie on a plane.

        r ~ N(μ(a), σ²),        μ(a) = ⟨φ(a), θ⟩,        φ(a) ~ N(0, I / d) once for all tasks

    Task: θ; it is kept as the means. Observation: 1, the only state one-hot: the features are the same in all tasks, so
    an agent that is meta-trained may learn them. Action: one of A arms. Termination: at every step. Optimal expected
    return: maxₐ μ(a).

    Args:
        dimension: d.
        feature_seed: of the features φ.
        meta_train: the distribution of each of θ's d coefficients in meta-training.
        meta_test: the same in meta-testing.

    Source: Lee et al. (2023), arXiv:2306.14892.
    """

    dimension: Count
    feature_seed: Whole
    meta_train: Coefficients
    meta_test: Coefficients

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular", "gaussian_bandit", "linear_bandit")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.coefficients: dict[Split, Coefficients] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        generator = torch.Generator().manual_seed(self.feature_seed)
        self.features: Tensor = torch.randn(self.num_arms, self.dimension, generator=generator, device="cpu")
        self.features /= self.dimension**0.5

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> BanditTask:
        θ = sample(self.coefficients[split]["coefficient"], num_tasks * self.dimension, generator)
        mean = (θ.view(num_tasks, 1, 1, self.dimension) * self.features.to(θ.device)).sum(-1)
        return BanditTask(mean_reward=mean)
