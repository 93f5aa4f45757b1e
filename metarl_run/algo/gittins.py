"""Gittins indices: the optimal policy of a discounted bandit over an infinite horizon."""

from typing import Annotated

from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent, deterministic_logits
from metarl_run.algo.bayes.gittins_index import gittins_indices
from metarl_run.kinds import Interval
from metarl_run.types import Memory

Discount = Annotated[float, Interval(float, 0.1, 0.9999)]

SMALLEST = 128
"""Pulls covered by the smallest table, so that short lifetimes do not wait for a large one."""


class Gittins(BanditAgent):
    """Pull the arm with the highest Gittins index, the first one on ties.

        argmaxₐ index(s(a), f(a)),        index: see `metarl_run.algo.bayes.gittins_index`

    This maximises the expected discounted sum of rewards over an infinite horizon. The table of indices is computed on
    first use, and again for four times as many pulls when it becomes too small; each time takes seconds.

    Args:
        discount: γ, per pull.

    Source: Gittins (1979), "Bandit processes and dynamic allocation indices"; discounts and prior as in Duan et al.
    (2016), arXiv:1611.02779.
    """

    discount: Discount

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        won = (memory["successes"] - self.prior_successes).round().long()
        lost = (memory["failures"] - self.prior_failures).round().long()
        table = self.table(int(memory["pulls"].max())).to(won.device)
        return deterministic_logits(table.take((won + lost) * len(table) + won).argmax(-1), self.num_arms)

    def table(self, pulls: int) -> Float[Tensor, "n_1 s_1"]:
        """Indices for at least `pulls` pulls; the table depends on `pulls` alone, not on earlier calls."""
        size = SMALLEST
        while size < pulls:
            size *= 4
        return gittins_indices(
            discount=self.discount, successes=self.prior_successes, failures=self.prior_failures, pulls=size
        )
