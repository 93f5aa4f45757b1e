"""Thompson sampling with several hypotheses at a time, of which the most probable counts."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.thompson import Thompson
from metarl_run.kinds import Count
from metarl_run.maths.sampling import beta


class OptimisticThompson(Thompson):
    """Before every pull draw N bandits from the posterior, and pull the best arm of that with the highest density.

        xᵢ(a) ~ Beta(s(a), f(a)),  i ≤ N,        j = argmaxᵢ Πₐ p(xᵢ(a)),        pull argmaxₐ xⱼ(a)
        log p(x) = (s − 1) log x + (f − 1) log(1 − x) + what does not depend on x

    With N = 1 it is Thompson sampling.

    Args:
        samples: N.

    Source: Duan et al. (2016), arXiv:1611.02779.
    """

    samples: Count

    def hypothesis(
        self, successes: Float[Tensor, "M B A"], failures: Float[Tensor, "M B A"], generator: torch.Generator
    ) -> Float[Tensor, "M B A"]:
        x, rest = beta(successes, failures, generator)
        if self.samples == 1:
            return x
        # One sample at a time: all N of many tasks would take more memory than all else together.
        density = log_density(x, rest, successes, failures)
        for _ in range(self.samples - 1):
            other, rest = beta(successes, failures, generator)
            of_other = log_density(other, rest, successes, failures)
            x = torch.where((of_other > density).unsqueeze(-1), other, x)
            density = torch.maximum(of_other, density)
        return x


def log_density(
    x: Float[Tensor, "M B A"], rest: Float[Tensor, "M B A"], s: Float[Tensor, "M B A"], f: Float[Tensor, "M B A"]
) -> Float[Tensor, "M B"]:
    """log Πₐ p(x(a)) of independent Beta(s, f), less what does not depend on x; `rest` is 1 − x."""
    density: Tensor = torch.special.xlogy(s - 1, x) + torch.special.xlogy(f - 1, rest)
    return density.sum(-1)
