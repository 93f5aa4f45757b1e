"""Uniformly random actions."""

from typing import Any

import gymnasium
import numpy as np
import torch

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical, Distribution, Uniform
from metarl_run.types import AgentState, Memory, Percept


class Random(MetaAlgorithm):
    """Choose every action uniformly and learn nothing.

    Args:
        action_space: discrete, or a bounded box.

    Raises:
        ValueError: if the box is unbounded.
    """

    action_space: gymnasium.Space[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kind: type[Categorical] | type[Uniform] = Categorical
        if not isinstance(space := self.action_space, gymnasium.spaces.Box):
            self.parameters = [np.zeros(num_actions(space), np.float32)]
        elif space.is_bounded():
            self.kind, self.parameters = Uniform, [space.low, space.high]
        else:
            raise ValueError(f"action_space must have bounds to be uniform over, got {space}")

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory={})

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        device, shape = percept.last_reward.device, percept.last_reward.shape
        parts = (torch.as_tensor(part, device=device).expand(*shape, *part.shape) for part in self.parameters)
        return self.kind(*parts), agent.memory
