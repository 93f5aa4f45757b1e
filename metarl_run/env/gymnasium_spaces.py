"""Spaces of Gymnasium as policies see them. Imports no torch, as workers import it."""

from typing import Any

import numpy as np
from gymnasium import spaces

MAX_COMBINATIONS = 4096  # of a MultiDiscrete or MultiBinary action


def flat_action_space(space: spaces.Space[Any]) -> spaces.Discrete | spaces.Box:
    """Discrete for finite spaces, whose combinations are numbered; a Box with one axis for real numbers."""
    match space:
        case spaces.Discrete():
            return space
        case spaces.MultiDiscrete(nvec=nvec):
            return spaces.Discrete(_combinations(nvec.flatten()))
        case spaces.MultiBinary():
            return spaces.Discrete(_combinations(np.full(int(np.prod(space.shape)), 2)))
        case spaces.Box():
            return spaces.Box(space.low.flatten(), space.high.flatten(), dtype=np.float32)
    raise ValueError(f"must be Discrete, MultiDiscrete, MultiBinary or Box, got {space}")


def _combinations(sizes: np.ndarray) -> int:
    number = int(np.prod(sizes.astype(object)))
    if number > MAX_COMBINATIONS:
        raise ValueError(f"must have at most {MAX_COMBINATIONS} combinations, got {number}")
    return number


def from_flat(space: spaces.Space[Any], action: np.ndarray) -> Any:
    """The action of `space` that a policy's choice in `flat_action_space` stands for."""
    match space:
        case spaces.Discrete():
            return space.dtype.type(action[0])
        case spaces.MultiDiscrete(nvec=nvec, start=start):
            digits = np.unravel_index(int(action[0]), nvec.flatten())
            return (np.reshape(digits, nvec.shape) + start).astype(space.dtype)
        case spaces.MultiBinary():
            sizes = np.full(int(np.prod(space.shape)), 2)
            return np.reshape(np.unravel_index(int(action[0]), sizes), space.shape).astype(space.dtype)
    return action.reshape(space.shape).astype(space.dtype)


def is_vector(space: spaces.Space[Any]) -> bool:
    """A Box with one axis, whose elements need no flattening."""
    return isinstance(space, spaces.Box) and len(space.shape) == 1
