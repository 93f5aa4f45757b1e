"""Algorithm Distillation: predict the actions of a learner in context, and so learn as it does."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from metarl_run.algo.in_context.base import Histories, InContext, mean_over_steps
from metarl_run.kinds import Fraction
from metarl_run.learner.base import Output, num_actions
from metarl_run.maths.distributions import Categorical


class AD(InContext):
    """Predict the next action of a learner's history from a window that spans several of its episodes.

        L = −E[ (1 − ε) log π_θ(aₜ | h, sₜ) + ε / A Σₐ log π_θ(a | h, sₜ) ]        h: the window's experience before t

    A window is of one history, hence of one task. The model improves in a new task as the learner did; on policies
    whose noise is annealed, instead of a learner, this is AD-ε.

    Args:
        label_smoothing: ε in [0, 1].

    Differs from the paper: no dropout and no mask of tokens.
    Source: Laskin et al. (2022), arXiv:2210.14215, Algorithm 1; Zisman et al. (2024), arXiv:2312.12275, for AD-ε.
    """

    label_smoothing: Fraction

    def heads(self) -> dict[str, int]:
        return {"policy": num_actions(self.action_space)}

    def policy(self, output: Output) -> Categorical:
        return Categorical(output["policy"])

    def loss(self, output: Output, histories: Histories) -> tuple[Tensor, dict[str, Tensor]]:
        logits, action = output["policy"], histories.rollout.action
        error = cross_entropy(
            logits.flatten(0, 1), action.flatten(), reduction="none", label_smoothing=self.label_smoothing
        ).view(action.shape)
        right = (logits.detach().argmax(-1) == action).to(error.dtype)
        return mean_over_steps(error, histories.rollout), {"accuracy": mean_over_steps(right, histories.rollout)}
