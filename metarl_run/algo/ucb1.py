"""UCB1: upper confidence bounds on the means of a bandit's arms."""

from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.bandit_agent import BanditAgent, deterministic_logits
from metarl_run.kinds import NonNegative
from metarl_run.types import Memory


class UCB1(BanditAgent):
    """Pull the arm with the highest upper confidence bound, the first one on ties.

        argmaxₐ s(a) / m(a) + c √(2 ln max(t, 1) / m(a)),        m(a) = s(a) + f(a),    t: pulls so far

    The counts s and f include the prior, so m(a) > 0 and no initial round over all arms is needed. There is no bonus
    before the first two pulls: ln max(t, 1) = 0 at t = 0 and t = 1.

    Args:
        exploration: c ≥ 0, scale of the bonus; 1 is UCB1.

    Differs from the paper: Auer et al. set c = 1, have no prior, and pull each arm once first.
    Source: Auer et al. (2002), "Finite-time analysis of the multiarmed bandit problem"; c and the prior counts as in
    Duan et al. (2016), arXiv:1611.02779.
    """

    exploration: NonNegative

    def logits(self, memory: Memory) -> Float[Tensor, "M B A"]:
        m = memory["successes"] + memory["failures"]
        log_t = (memory["pulls"] - 1).clamp(min=1).log().unsqueeze(-1)
        bound = memory["successes"] / m + self.exploration * (2 * log_t / m).sqrt()
        return deterministic_logits(bound.argmax(-1), self.num_arms)
