"""ε-greedy for tabular MDPs: plan in the estimated MDP, and act at random with probability ε."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.kinds import Fraction
from metarl_run.maths.distributions import Categorical
from metarl_run.maths.planning import finite_horizon_q


class EpsilonGreedyMDP(PlanningAgent):
    """Plan in the estimated MDP before every episode, and act ε-greedily on its values.

        π(a | s) = ε / A + (1 − ε) · [a = argmax Qₜ(s, ·)],        Q = optimal values of (P̂, r̂) over the horizon

    With a nearly flat prior r̂ and P̂ are empirical means; for unvisited pairs they are μ₀ and uniform.

    Args:
        epsilon: ε in [0, 1].

    Source: Duan et al. (2016), arXiv:1611.02779; Sutton and Barto (2018), Reinforcement Learning, for ε-greedy actions.
    """

    epsilon: Fraction

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        transition, reward = belief.mean()
        return finite_horizon_q(transition, reward, horizon=self.horizon)

    def behaviour(self, q: Float[Tensor, "M B A"]) -> Categorical:
        best = q == q.amax(-1, keepdim=True)
        at_random = self.epsilon / q.shape[-1]
        share = (1 - self.epsilon) / best.sum(-1, keepdim=True) + at_random
        return Categorical(torch.where(best, share.log(), math.log(at_random) if at_random else -math.inf))
