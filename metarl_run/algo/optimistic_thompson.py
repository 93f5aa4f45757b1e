"""Optimistic Thompson sampling: act on the most probable of several posterior samples."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.thompson import Thompson
from metarl_run.kinds import Count
from metarl_run.maths.sampling import beta


class OptimisticThompson(Thompson):
    """Draw N bandits from the posterior before every pull, and pull the best arm of the one with the highest density.

        xᵢ(a) ~ Beta(s(a), f(a)),  i ≤ N,        j = argmaxᵢ Πₐ p(xᵢ(a)),        pull argmaxₐ xⱼ(a)
        log p(x) = (s − 1) log x + (f − 1) log(1 − x) + const

    N = 1 is Thompson sampling.

    Args:
        samples: N ≥ 1.

    Source: Duan et al. (2016), arXiv:1611.02779.
    """

    samples: Count

    def hypothesis(
        self, successes: Float[Tensor, "M B A"], failures: Float[Tensor, "M B A"], generator: torch.Generator
    ) -> Float[Tensor, "M B A"]:
        x, rest = beta(successes, failures, generator)
        if self.samples == 1:
            return x
        # One sample at a time: all N of them for many tasks would dominate the memory of a run.
        density = log_density(x, rest, successes, failures)
        for _ in range(self.samples - 1):
            other, rest = beta(successes, failures, generator)
            other_density = log_density(other, rest, successes, failures)
            x = torch.where((other_density > density).unsqueeze(-1), other, x)
            density = torch.maximum(other_density, density)
        return x


def log_density(
    x: Float[Tensor, "M B A"], rest: Float[Tensor, "M B A"], s: Float[Tensor, "M B A"], f: Float[Tensor, "M B A"]
) -> Float[Tensor, "M B"]:
    """log Πₐ p(x(a)) of independent Beta(s, f), up to a constant independent of x; `rest` is 1 − x."""
    density: Tensor = torch.special.xlogy(s - 1, x) + torch.special.xlogy(f - 1, rest)
    return density.sum(-1)
