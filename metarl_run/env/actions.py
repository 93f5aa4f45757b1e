"""From what a policy chooses to an action that lies in the action space."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.env.base import TaskFamily

Dynamics = Callable[..., tuple[Any, Tensor, Tensor]]
"""`TaskFamily.step`: (task, state, action, noise) → state, reward, terminated."""


def dynamics_of(family: TaskFamily, device: torch.device) -> Dynamics:
    """`family.step` for what policies choose: indices that count from 0, real numbers without bounds.

    Args:
        family: its `step` itself is returned where policies choose valid actions anyway.
        device: of the actions.
    """
    match family.action_space:
        case gymnasium.spaces.Discrete(start=start) if start:
            offset = int(start)
            return lambda task, state, action, *more: family.step(task, state, action + offset, *more)
        case gymnasium.spaces.Box() as box if np.isfinite([box.low, box.high]).any():
            low, high = _bounds(box, device)
            return lambda task, state, action, *more: family.step(task, state, action.clamp(low, high), *more)
    return family.step


def _bounds(box: gymnasium.spaces.Box, device: torch.device) -> Any:
    """Two numbers where all entries have the same bounds: clamping to numbers is faster than to tensors."""
    low, high = np.unique(box.low), np.unique(box.high)
    if len(low) == len(high) == 1:
        return float(low[0]), float(high[0])
    return tuple(torch.as_tensor(bound, dtype=torch.float32, device=device) for bound in (box.low, box.high))


def from_space(action: Any, space: gymnasium.Space[Any], device: torch.device) -> Tensor:
    """Actions of Gymnasium as a policy would have chosen them: those of a Discrete space count from 0."""
    chosen = torch.as_tensor(np.array(action), device=device)
    return chosen - int(space.start) if isinstance(space, gymnasium.spaces.Discrete) and space.start else chosen
