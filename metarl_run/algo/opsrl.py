"""Optimistic posterior sampling: act on the best that any of several guesses promises."""

import functools
from typing import Any

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief, Prior
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count, checked
from metarl_run.maths.planning import finite_horizon_q


class OPSRL(PlanningAgent):
    """Draw N MDPs from the posterior before every episode, and take of each action value the largest.

        P̃ᵢ, r̃ᵢ ~ posterior,        Q = maxᵢ Qᵢ,        Qᵢ = optimal values of (P̃ᵢ, r̃ᵢ) over the horizon

    Args:
        family: says how long an episode is.
        observation_space: of the task family; the state, one-hot.
        action_space: of the task family.
        prior: the belief before any experience.
        num_samples: N; 1 is PSRL.

    Source: Osband and Van Roy (2017), arXiv:1607.00215, and the tables of Duan et al. (2016),
    arXiv:1611.02779; for bandits May et al. (2012), "Optimistic Bayesian sampling".
    """

    @checked
    def __init__(
        self,
        *,
        family: TaskFamily,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.Space[Any],
        prior: Prior,
        num_samples: Count,
    ) -> None:
        super().__init__(family=family, observation_space=observation_space, action_space=action_space, prior=prior)
        self.num_samples = num_samples

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        guesses = (belief.sample(generator) for _ in range(self.num_samples))
        return functools.reduce(torch.maximum, (finite_horizon_q(P, r, horizon=self.horizon) for P, r in guesses))
