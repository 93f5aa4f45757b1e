"""Learning from scratch: the base learner alone."""

from typing import Literal

from metarl_run.algo.gradient.base import GradientBased
from metarl_run.algo.gradient.inner_rule import RULES
from metarl_run.component import field


class Scratch(GradientBased):
    """Start every task from the same random initialisation and adapt by gradient steps: what no meta-training gives.

        start:  φ₀ = random
        adapt:  φₖ₊₁ = φₖ − α d,        d = ∇ L(φₖ, rolloutₖ), or what Adam makes of it

    Args:
        rule: whose d, see `metarl_run.algo.gradient.inner_rule`.
    """

    rule: Literal["sgd", "adam"]
    first_order: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inner_rule = RULES[self.rule]
