"""BEB: a Bayesian exploration bonus for uncertain states and actions."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.kinds import NonNegative
from metarl_run.maths.planning import time_dependent_q


class BEB(PlanningAgent):
    """Plan in the posterior-mean MDP with a bonus for every state and action that shrinks with experience of it.

        rₜ(s, a) = r̂(s, a) + 1 / (1 + τₙ(s, a)) + (H − 1 − t) β / (1 + Σₛ′ α(s, a, s′)),        β = 2 c H³

    τₙ is the posterior precision of the mean reward, α are the parameters of the Dirichlet posterior of the
    transitions, and steps t count from 0.

    Args:
        scale: c ≥ 0, of the bonus for uncertain transitions.

    Differs from the paper: the whole bonus there is β / (1 + Σ α), and the horizon is infinite; here uncertain rewards
    have a bonus of their own, and the bonus for transitions is multiplied by the remaining steps.
    Source: Kolter and Ng (2009), "Near-Bayesian exploration in polynomial time"; constants as in the tables of Duan et
    al. (2016), arXiv:1611.02779.
    """

    scale: NonNegative

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        H = self.horizon
        transition, reward = belief.mean()
        reward_bonus = 1 / (1 + belief.reward_precision)
        transition_bonus = 2 * self.scale * H**3 / (1 + belief.concentration.sum(-3))
        to_go = torch.arange(H - 1, -1, -1, device=reward.device)[:, None, None]
        bonus = reward_bonus.unsqueeze(-3) + to_go * transition_bonus.unsqueeze(-3)
        return time_dependent_q(transition, reward.unsqueeze(-3) + bonus)
