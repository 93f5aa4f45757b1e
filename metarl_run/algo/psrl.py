"""PSRL: posterior sampling for tabular MDPs."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.bayes.planning_agent import PlanningAgent
from metarl_run.algo.bayes.tabular_posterior import Belief
from metarl_run.maths.planning import finite_horizon_q


class PSRL(PlanningAgent):
    """Draw one MDP from the posterior before every episode, and act on its optimal values during that episode.

        P̃, r̃ ~ posterior,        Q = optimal values of (P̃, r̃) over the horizon

    Source: Strens (2000), "A Bayesian framework for reinforcement learning"; Osband, Russo and Van Roy (2013),
    arXiv:1306.0940.
    """

    def plan(self, belief: Belief, generator: torch.Generator) -> Float[Tensor, "N H S A"]:
        transition, reward = belief.sample(generator)
        return finite_horizon_q(transition, reward, horizon=self.horizon)
