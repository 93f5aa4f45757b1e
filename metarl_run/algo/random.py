"""Random actions."""

from typing import Any, ClassVar

import gymnasium
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.kinds import checked
from metarl_run.learner.base import num_actions
from metarl_run.policy import Categorical
from metarl_run.types import AgentState, Memory, Percept, Rollout


class Random(MetaAlgorithm):
    """Choose every action uniformly and learn nothing.

    Args:
        action_space: what to choose from.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)

    @checked
    def __init__(self, *, action_space: gymnasium.Space[Any]) -> None:
        self.num_actions = num_actions(action_space)

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory={})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        shape = (*percept.last_reward.shape, self.num_actions)
        return Categorical(torch.zeros(shape, device=percept.last_reward.device)), agent.memory

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        return agent
