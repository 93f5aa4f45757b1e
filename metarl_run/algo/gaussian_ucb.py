"""Upper confidence bounds on the means of a Gaussian bandit's arms."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import deterministic_logits
from metarl_run.algo.bayes.gaussian_bandit_agent import GaussianBanditAgent
from metarl_run.kinds import NonNegative
from metarl_run.types import Memory


class GaussianUCB(GaussianBanditAgent):
    """Pull each arm once in order, then the one with the highest upper bound, the first one on ties.

        argmaxₐ Σr(a) / n(a) + c √(1 / n(a))

    Args:
        exploration: c ≥ 0, scale of the bonus.

    Source: Lee et al. (2023), arXiv:2306.14892, with c = 1.
    """

    exploration: NonNegative

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        n = memory["arm_pulls"]
        bound = memory["total_reward"] / n.clamp(min=1) + self.exploration * n.clamp(min=1).rsqrt()
        return deterministic_logits(torch.where(n > 0, bound, torch.inf).argmax(-1), self.num_arms)
