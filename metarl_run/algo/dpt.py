"""Decision-pretrained transformer: predict the optimal action in context, act by sampling."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cross_entropy

from metarl_run.algo.in_context.base import Histories, InContext, mean_over_steps
from metarl_run.learner.base import Output, num_actions
from metarl_run.maths.distributions import Categorical


class DPT(InContext):
    """Predict the task's optimal action in the current state from the experience so far, and sample it.

        L = −E[ log π_θ(a*(sₜ) | h, sₜ) ]        over all steps t of histories, h: the experience before t

    Where the data were collected without knowledge of the task, the minimum of L is the posterior probability that an
    action is optimal: to act by π_θ is posterior sampling.

    Differs from the paper: the context grows by every step, in MDPs too, not by finished episodes; queries are the
    states of the histories themselves; the context is not shuffled, since a shuffled prefix would tell of rewards that
    are not in it where the data depend on what was seen.
    Source: Lee et al. (2023), arXiv:2306.14892, Eq. 2, Algorithm 1, Theorem 1.
    """

    requires: ClassVar[tuple[str, ...]] = ("memory", "discrete_actions", "tabular")
    needs_labels: ClassVar[bool] = True
    posterior_sampling: ClassVar[bool] = True

    def heads(self) -> dict[str, int]:
        return {"policy": num_actions(self.action_space)}

    def policy(self, output: Output) -> Categorical:
        return Categorical(output["policy"])

    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        assert histories.optimal_action is not None
        logits, label = output["policy"], histories.optimal_action
        error = cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none").view(label.shape)
        right = (logits.detach().argmax(-1) == label).to(error.dtype)
        return mean_over_steps(error, histories.rollout), {"accuracy": mean_over_steps(right, histories.rollout)}
