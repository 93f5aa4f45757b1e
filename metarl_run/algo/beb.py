"""An exploration bonus: what is little known is worth more."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.kinds import NonNegative
from metarl_run.maths.planning import time_dependent_q


class BEB(PlanningAgent):
    """Plan in the posterior-mean MDP with a bonus for every state and action that shrinks with what is known of it.

        rₜ(s, a) = r̂(s, a) + 1 / (1 + τₙ(s, a)) + (H − 1 − t) β / (1 + Σₛ′ α(s, a, s′)),        β = 2 c H³

    τₙ is the precision of the belief about the mean reward, α its Dirichlet's parameters; steps t count from 0.

    Args:
        scale: c, of the bonus for unknown transitions.

    Differs from the paper: its bonus is β / (1 + Σ α) in all, and its horizon does not end; here unknown rewards have a
    bonus of their own, and that for transitions counts for every step to go.
    Source: Kolter and Ng (2009), "Near-Bayesian exploration in polynomial time"; the constants of the tables of
    Duan et al. (2016), arXiv:1611.02779.
    """

    scale: NonNegative

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        H = self.horizon
        transition, reward = belief.mean()
        of_reward = 1 / (1 + belief.reward_precision)
        of_transition = 2 * self.scale * H**3 / (1 + belief.concentration.sum(-3))
        to_go = torch.arange(H - 1, -1, -1, device=reward.device)[:, None, None]
        bonus = of_reward.unsqueeze(-3) + to_go * of_transition.unsqueeze(-3)
        return time_dependent_q(transition, reward.unsqueeze(-3) + bonus)
