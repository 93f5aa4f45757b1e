"""Optimistic posterior sampling: act on the largest action values among several posterior samples."""

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.kinds import Count
from metarl_run.maths.planning import finite_horizon_q


class OPSRL(PlanningAgent):
    """Draw N MDPs from the posterior before every episode, and take the largest value of each action.

        P̃ᵢ, r̃ᵢ ~ posterior,        Q = maxᵢ Qᵢ,        Qᵢ = optimal values of (P̃ᵢ, r̃ᵢ) over the horizon

    Args:
        num_samples: N ≥ 1; 1 is PSRL.

    Source: Osband and Van Roy (2017), arXiv:1607.00215, and the tables of Duan et al. (2016),
    arXiv:1611.02779; for bandits May et al. (2012), "Optimistic Bayesian sampling".
    """

    num_samples: Count

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        samples = (belief.sample(generator) for _ in range(self.num_samples))
        return functools.reduce(torch.maximum, (finite_horizon_q(P, r, horizon=self.horizon) for P, r in samples))
