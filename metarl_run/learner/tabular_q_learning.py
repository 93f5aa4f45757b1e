"""Tabular Q-learning: a table of action values."""

from typing import ClassVar

from torch import Tensor

from metarl_run.component import field
from metarl_run.kinds import Positive
from metarl_run.learner.q_learning import QLearning
from metarl_run.types import Rollout


class TabularQLearning(QLearning):
    """Q-learning with a step size per table entry: a visited entry moves by α times its mean TD error.

        L = Σ_(s, a) visited  mean over visits to (s, a) of ½ δₜ²        so that        Q(s, a) ← Q(s, a) + α mean δₜ

    Differs from the paper: one update by the mean over visits instead of one update per visit.
    Source: Watkins & Dayan (1992), Machine Learning 8.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular", "table")

    scale: Positive = field(init=False, default=1.0)

    def cost(self, δ: Tensor, rollout: Rollout, num_actions: int) -> Tensor:
        """Sum over visited entries of half their mean squared errors."""
        state = rollout.observation[..., :-1, :, :].argmax(-1)
        entry = (state * num_actions + rollout.action).flatten(-2)
        alive = rollout.alive.flatten(-2).to(δ.dtype)
        num_entries = rollout.observation.shape[-1] * num_actions
        visits = alive.new_zeros(*alive.shape[:-1], num_entries).scatter_add(-1, entry, alive)
        return (0.5 * δ.flatten(-2) ** 2 * alive / visits.gather(-1, entry).clamp(min=1)).sum(-1)
