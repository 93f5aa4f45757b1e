"""In-context DQN: action values learned offline, in context."""

from torch import Tensor
from torch.nn.functional import huber_loss

from metarl_run.algo.in_context.base import Histories
from metarl_run.algo.in_context.values import InContextValues, chosen, followed, masked, softened, targets
from metarl_run.kinds import Positive
from metarl_run.learner.base import Output, num_actions
from metarl_run.maths.distributions import Categorical


class ICDQN(InContextValues):
    """Learn Q in context by Q-learning's errors on recorded histories; act by a softmax of Q.

        L = E[ h(rₜ + γ (1 − endₜ) maxₐ Q_θ̄(hₜ₊₁, a) − Q_θ(hₜ, aₜ)) ],        h(δ) = ½ δ² where |δ| < 1, else |δ| − ½
        π(a) ∝ exp(Q_θ(h, a) / temperature)

    Args:
        temperature: > 0, in units of Q; near 0 the policy is greedy.

    Differs from the paper: a sequence model with a token per step; a softmax instead of greedy actions, whose ties
    would be broken alike in every state that is new.
    Source: Tarasov et al. (2025), arXiv:2502.17666; Mnih et al. (2015), Nature 518.
    """

    temperature: Positive

    def heads(self) -> dict[str, int]:
        return {"q": num_actions(self.action_space)}

    def policy(self, output: Output) -> Categorical:
        return softened(output["q"], self.temperature)

    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        y = targets(self.slow_output(histories)["q"].amax(-1), histories.rollout, self.discount)
        q = chosen(output["q"], histories.rollout)
        loss = masked(huber_loss(q, y, reduction="none"), followed(histories.rollout))
        return loss, {"q": masked(q.detach(), followed(histories.rollout)), "td_error": loss.detach()}
