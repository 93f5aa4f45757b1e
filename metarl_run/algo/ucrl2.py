"""Optimism in the face of uncertainty: act as if the best MDP that the data allows were the truth."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.kinds import Interval, NonNegative
from metarl_run.maths.planning import extended_q

Chance = Annotated[float, Interval(float, 0.0, 1.0, open_low=True)]


class UCRL2(PlanningAgent):
    """Plan in the best of all MDPs within confidence sets around the estimates, anew before every episode k.

        |r − r̂(s, a)| ≤ c √(4 L / n(s, a)),        ‖p − P̂(· | s, a)‖₁ ≤ c √(4 S L / n(s, a)),        n at least 1
        L = log(2 S A (k + 1) / δ)

    n(s, a) counts rewards in the one bound, and in the other transitions, which lack those that ended an episode. With
    a prior near nothing r̂ and P̂ are the means of what was seen, μ₀ and uniform where nothing was.

    Args:
        confidence: δ, how unlikely it is that the truth lies outside.
        scale: c, of the sets; 1 in theory, less in practice.

    Differs from the paper: plans are made before every episode and for its steps, not for an average over all time
    whenever the visits of some (s, a) doubled; L counts episodes, not steps; widths have constants of their own.
    Differs from the tables of Duan et al. (2016), arXiv:1611.02779: they fit a planner that lets p, once moved towards
    the best states, be P̂ of the step before, so that widths add up along an episode; it earns about 1 % more.
    Source: Jaksch, Ortner and Auer (2010), "Near-optimal regret bounds for reinforcement learning"; the
    constants as in the finite-horizon version that Osband, Russo and Van Roy (2013), arXiv:1306.0940, compare with.
    """

    confidence: Chance
    scale: NonNegative

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        _, S, A = belief.visits.shape
        L = (2 * S * A * (belief.episodes + 1) / self.confidence).log()[:, None, None]
        reward_width = self.scale * (4 * L / belief.visits.clamp(min=1)).sqrt()
        transition_width = self.scale * (4 * S * L / belief.transitions.sum(-3).clamp(min=1)).sqrt()
        transition, reward = belief.mean()
        return extended_q(transition, reward + reward_width, transition_width, horizon=self.horizon)
