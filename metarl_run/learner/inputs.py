"""Network inputs of agents with memory."""

from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.learner.base import action_size
from metarl_run.types import Percept


def encoded(percept: Percept, action_space: gymnasium.Space[Any]) -> Float[Tensor, "X Y F"]:
    """Concatenated observation, last action, last reward and end flag: (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁)."""
    action = action_features(percept.last_action, action_space).to(percept.observation.dtype)
    flags = torch.stack([percept.last_reward, percept.last_ended.to(percept.last_reward.dtype)], -1)
    return torch.cat([percept.observation, action, flags], -1)


def transition(
    before: Float[Tensor, "X Y S"], percept: Percept, action_space: gymnasium.Space[Any]
) -> Float[Tensor, "X Y F"]:
    """Features of the last transition in a tabular family: one-hot (sₜ₋₁, aₜ₋₁), and rₜ₋₁ times it.

    Args:
        before: sₜ₋₁, one-hot; 0 before any step.
        percept: the rest.
        action_space: of the task family.
    """
    action = action_features(percept.last_action, action_space).to(before.dtype)
    pair = (before.unsqueeze(-1) * action.unsqueeze(-2)).flatten(-2)
    return torch.cat([pair, pair * percept.last_reward.unsqueeze(-1)], -1)


def encoded_size(observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> int:
    """F, size of the features of `encoded`."""
    return observation_size(observation_space) + action_size(action_space) + 2


def action_features(action: Tensor, action_space: gymnasium.Space[Any]) -> Tensor:
    """Features of an action: one-hot if actions are discrete, else the action itself."""
    if isinstance(action_space, gymnasium.spaces.Discrete):
        # torch.nn.functional.one_hot checks the range of all values, which synchronises with the device
        return action.unsqueeze(-1) == torch.arange(int(action_space.n), device=action.device)
    return action


def observation_size(observation_space: gymnasium.Space[Any]) -> int:
    """D, features of an observation."""
    return int(np.prod(observation_space.shape or ()))
