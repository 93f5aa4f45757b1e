"""ε-greedy for bandits: the best arm so far, or with probability ε a random one."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent
from metarl_run.kinds import Fraction
from metarl_run.types import Memory


class EpsilonGreedy(BanditAgent):
    """Pull the arm with the highest posterior mean, the first one on ties, or with probability ε a uniform one.

        π(a) = ε / A + (1 − ε) [a = argmaxₐ′ s(a′) / (s(a′) + f(a′))]

    Args:
        epsilon: ε in [0, 1]; 0 is greedy.

    Source: Sutton & Barto (2018), Reinforcement Learning; prior counts as in Duan et al. (2016), arXiv:1611.02779.
    """

    epsilon: Fraction

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        mean = memory["successes"] / (memory["successes"] + memory["failures"])
        at_random = self.epsilon / self.num_arms
        best = mean.argmax(-1, keepdim=True)
        return torch.full_like(mean, at_random).scatter(-1, best, 1 - self.epsilon + at_random).log()
