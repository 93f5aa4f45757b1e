"""Learning from scratch: the base learner alone."""

from typing import Literal

from metarl_run.algo.gradient_based import GradientBased
from metarl_run.algo.inner_rule import RULES
from metarl_run.kinds import Positive, checked
from metarl_run.learner.base import BaseLearner
from metarl_run.network.base import Network
from metarl_run.types import Params


class Scratch(GradientBased):
    """Start every task from the same random initialisation and adapt by gradient steps: what no meta-training gives.

        start:  φ₀ = random
        adapt:  φₖ₊₁ = φₖ − α d,        d = ∇ L(φₖ, rolloutₖ), or what Adam makes of it

    Args:
        learner: supplies the policy and L, the loss of one task.
        network: maps parameters and observations to what the learner reads.
        meta_params: φ₀.
        rule: whose d, see `metarl_run.algo.inner_rule`.
        inner_lr: α.
    """

    @checked
    def __init__(
        self,
        *,
        learner: BaseLearner,
        network: Network,
        meta_params: Params,
        rule: Literal["sgd", "adam"],
        inner_lr: Positive,
    ) -> None:
        super().__init__(learner, network, meta_params, inner_lr, first_order=True, inner_rule=RULES[rule])
