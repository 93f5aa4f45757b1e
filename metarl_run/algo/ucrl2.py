"""UCRL2: optimism in the face of uncertainty, planning in the best MDP of a confidence set."""

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
    """Plan in the best MDP of confidence sets around the estimates, again before every episode k.

        |r − r̂(s, a)| ≤ c √(4 L / n(s, a)),        ‖p − P̂(· | s, a)‖₁ ≤ c √(4 S L / n(s, a)),        n clipped to ≥ 1
        L = log(2 S A (k + 1) / δ)

    n(s, a) counts rewards in the first bound and transitions in the second, which exclude those that ended an episode.
    With a nearly flat prior r̂ and P̂ are empirical means; for unvisited pairs they are μ₀ and uniform.

    Args:
        confidence: δ in (0, 1], bound on the probability that the true MDP lies outside the sets.
        scale: c ≥ 0, factor of the widths; 1 in theory, less in practice.

    Differs from the paper: plans are finite-horizon and made before every episode, not average-reward and made whenever
    the visits of some (s, a) have doubled; L counts episodes, not steps; the widths have other constants.
    Differs from the tables of Duan et al. (2016), arXiv:1611.02779: their results fit a planner that reuses the
    optimistic p of one step as P̂ of the next, so that widths accumulate along an episode; it earns about 1 % more.
    Source: Jaksch, Ortner and Auer (2010), "Near-optimal regret bounds for reinforcement learning"; constants as in the
    finite-horizon version that Osband, Russo and Van Roy (2013), arXiv:1306.0940, compare with.
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
