"""MBIE-EB: planning in the estimated MDP with a bonus for rarely visited pairs, anew at every step."""

import math
from typing import Any, ClassVar

import gymnasium
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.bayes.tabular_model import TabularModel
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import NonNegative, Real
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class MBIEEB(MetaAlgorithm):
    """Act greedily on the values of the estimated MDP with a bonus, planned for the remaining steps of the episode.

        aₜ ~ uniform over argmaxₐ Qₜ⁽ᴴ⁻ᵗ⁾(sₜ, a),        Q⁽ʰ⁾: see `metarl_run.algo.bayes.tabular_model`

    The model includes the step that has just been made, so that what an episode shows is used within it.

    Args:
        family: gives the horizon.
        observation_space: of the task family; states are one-hot.
        action_space: of the task family.
        reward_prior: μ, the estimated reward before any is observed, in units of the reward.
        reward_weight: w ≥ 0, number of observed rewards that μ counts as.
        transition_weight: α ≥ 0, pseudo-count of transitions to each state.
        bonus: β ≥ 0, of a pair that was never visited, in units of the reward.

    Differs from the paper: estimates have a prior; the bonus is β / √(n + 1), not β / √n; the horizon is finite.
    Source: Strehl and Littman (2008), "An analysis of model-based interval estimation for Markov decision processes".
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    family: TaskFamily
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    reward_prior: Real
    reward_weight: NonNegative
    transition_weight: NonNegative
    bonus: NonNegative

    def __post_init__(self) -> None:
        super().__post_init__()
        self.model = TabularModel(
            num_states=self.observation_space.shape[0],
            num_actions=num_actions(self.action_space),
            horizon=self.family.horizon,
            reward_prior=self.reward_prior,
            reward_weight=self.reward_weight,
            transition_weight=self.transition_weight,
            optimism=[self.bonus],
        )

    def begin(self, task: Any) -> AgentState:
        return AgentState(params={}, memory=self.model.initial_memory(task.num_tasks, task.mean_reward.device))

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory=self.model.initial_memory(num_tasks, torch.device("cpu")))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        seen = self.model.observe(agent.memory, percept)
        q = self.model.values(seen)[0].squeeze(-2)
        return Categorical(torch.where(q == q.amax(-1, keepdim=True), 0.0, -math.inf)), seen
