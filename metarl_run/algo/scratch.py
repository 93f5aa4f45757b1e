"""Learning from scratch: the base learner without meta-training."""

from typing import Literal

from metarl_run.algo.gradient.base import GradientBased
from metarl_run.algo.gradient.inner_rule import RULES
from metarl_run.component import field


class Scratch(GradientBased):
    """Start every task from the same random initialisation and adapt by gradient steps: the reference line.

        start:  φ₀ = random
        adapt:  φₖ₊₁ = φₖ − α d,        d = ∇ L(φₖ, rolloutₖ), or Adam's direction

    Args:
        rule: inner rule that gives d, see `metarl_run.algo.gradient.inner_rule`.
    """

    rule: Literal["sgd", "adam"]
    first_order: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.inner_rule = RULES[self.rule]
