"""What an agent with memory reads of its experience."""

from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.learner.base import action_size
from metarl_run.types import Percept


def encoded(percept: Percept, action_space: gymnasium.Space[Any]) -> Float[Tensor, "X Y F"]:
    """Observation, last action, last reward and end flag side by side: (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁)."""
    action = action_features(percept.last_action, action_space).to(percept.observation.dtype)
    flags = torch.stack([percept.last_reward, percept.last_ended.to(percept.last_reward.dtype)], -1)
    return torch.cat([percept.observation, action, flags], -1)


def encoded_size(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> int:
    """F, how many numbers `encoded` puts side by side."""
    return observation_size(observation_space) + action_size(action_space) + 2


def action_features(action: Tensor, action_space: gymnasium.Space[Any]) -> Tensor:
    """An action as numbers: one-hot where actions are discrete, else as it is."""
    if isinstance(action_space, gymnasium.spaces.Discrete):
        # torch.nn.functional.one_hot looks at all numbers first
        return action.unsqueeze(-1) == torch.arange(int(action_space.n), device=action.device)
    return action


def observation_size(observation_space: gymnasium.Space[Any]) -> int:
    """D, features of an observation."""
    return int(np.prod(observation_space.shape or ()))
