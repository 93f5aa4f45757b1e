"""Plain gradient descent on the meta-loss."""

from torch import Tensor

from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.kinds import Positive


class SGD(GradientRule):
    """Plain gradient descent: θ ← θ − β g.

    Args:
        lr: β.
    """

    lr: Positive

    def update(self, gradients: list[Tensor]) -> None:
        for θ, g in zip(self.tensors, gradients, strict=True):
            θ.sub_(g, alpha=self.lr)
