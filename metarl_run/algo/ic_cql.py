"""In-context CQL: action values learned offline, in context, low for actions that the data lack."""

from torch import Tensor

from metarl_run.algo.ic_dqn import ICDQN
from metarl_run.algo.in_context.base import Histories
from metarl_run.algo.in_context.values import chosen, followed, masked
from metarl_run.kinds import NonNegative
from metarl_run.learner.base import Output


class ICCQL(ICDQN):
    """In-context DQN with values pushed down for all actions, and up for those of the data.

        L = L_DQN + α E[ log Σₐ exp Q_θ(hₜ, a) − Q_θ(hₜ, aₜ) ]

    Args:
        conservatism: α ≥ 0.

    Source: Kumar et al. (2020), arXiv:2006.04779, Eq. 4; Tarasov et al. (2025), arXiv:2502.17666.
    """

    conservatism: NonNegative

    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().loss(output, histories)
        gap = output["q"][:-1].logsumexp(-1) - chosen(output["q"], histories.rollout)
        penalty = masked(gap, followed(histories.rollout))
        return loss + self.conservatism * penalty, {**metrics, "penalty": penalty.detach()}
