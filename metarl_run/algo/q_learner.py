"""Tabular Q-learning from zeros in every new task: Meta-Q without its network."""

from typing import Any, ClassVar

import gymnasium
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.algo.q.q_table import QTable
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Fraction, NonNegative, Positive
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.types import AgentState, Memory, Percept


class QLearner(MetaAlgorithm):
    """Run Q-learning after every step of a lifetime, starting from zeros.

        start:  Q = 0
        adapt:  Q-learning after every step, see `metarl_run.algo.q.q_table`,    aₜ ~ softmax(Qₜ(sₜ, ·) / τ)

    Args:
        family: gives the horizon.
        observation_space: of the task family; states are one-hot.
        action_space: of the task family.
        weight: w ≥ 0, visits that the initial 0 counts as.
        discount: γ in [0, 1], per step.
        temperature: τ > 0, in units of Q.

    Source: Watkins & Dayan (1992), Machine Learning 8.
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    family: TaskFamily
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    weight: NonNegative
    discount: Fraction
    temperature: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        self.table = QTable(
            num_states=self.observation_space.shape[0],
            num_actions=num_actions(self.action_space),
            horizon=self.family.horizon,
            discount=self.discount,
            temperature=self.temperature,
        )

    def begin(self, task: Any) -> AgentState:
        return AgentState(params={}, memory=self.table.initial_memory(task.num_tasks, task.mean_reward.device))

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory=self.table.initial_memory(num_tasks, torch.device("cpu")))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        memory = self.table.observe(agent.memory, percept, self.weight)
        return self.table.policy(memory), memory
