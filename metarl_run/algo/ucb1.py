"""UCB1: the arm that would be best if every mean were as large as it may well be."""

from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent, certainly
from metarl_run.kinds import NonNegative
from metarl_run.types import Memory


class UCB1(BanditAgent):
    """Pull the arm with the highest upper confidence bound, the first of several.

        argmaxₐ s(a) / m(a) + c √(2 ln max(t, 1) / m(a)),        m(a) = s(a) + f(a),    t: pulls before this one

    The counts s and f include the prior's, so every m(a) > 0 and no arm need be pulled once before the others. Before
    the first pull, where ln t would be −∞, no arm has a bonus, as ln 1 gives none before the second.

    Args:
        exploration: c; 1 is UCB1, less explores less.

    Differs from the paper: Auer et al. have c = 1, count no prior, and pull each arm once first; see Duan et al.
    Source: Auer et al. (2002), "Finite-time analysis of the multiarmed bandit problem"; with c and counts
    as in Duan et al. (2016), arXiv:1611.02779.
    """

    exploration: NonNegative

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        m = memory["successes"] + memory["failures"]
        log_t = (memory["pulls"] - 1).clamp(min=1).log().unsqueeze(-1)
        bound = memory["successes"] / m + self.exploration * (2 * log_t / m).sqrt()
        return certainly(bound.argmax(-1), self.num_arms)
