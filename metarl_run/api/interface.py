"""A user's environment as an agent sees it: which observations and actions fit, and how they are converted."""

from typing import Any, NoReturn

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, iterate
from torch import Tensor

from metarl_run.env.gymnasium_spaces import flat_action_space, from_flat, is_vector
from metarl_run.errors import ConfigError


class Interface:
    """Conversion between a user's environment and an agent.

    Args:
        name: of the family that the agent was trained on, for messages.
        own: spaces of its observations and actions.
        observation_space: of one environment of the user; None for the family's.
        action_space: likewise.

    Raises:
        ConfigError: if the agent cannot read such observations or choose such actions.
    """

    def __init__(
        self,
        name: str,
        own: tuple[spaces.Box, spaces.Space[Any]],
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        self.name = name
        self.observation_space = own[0] if observation_space is None else observation_space
        self.action_space = own[1] if action_space is None else action_space
        (self.size,) = own[0].shape
        try:
            fits = spaces.flatdim(self.observation_space) == self.size
        except (ValueError, NotImplementedError):  # Gymnasium's, of spaces without a size and of unknown ones
            fits = False
        if not fits:
            self._refuse("observation_space", self.observation_space, own[0])
        try:
            flat = flat_action_space(self.action_space)
        except ValueError:
            flat = None
        if flat is None or not _alike(flat, own[1]):
            self._refuse("action_space", self.action_space, own[1])
        self.flat = flat
        self.plain_actions = isinstance(self.action_space, spaces.Discrete) or is_vector(self.action_space)
        self.plain_observations = isinstance(self.observation_space, spaces.Box)

    def _refuse(self, name: str, got: object, wanted: object) -> NoReturn:
        raise ConfigError("envs", f"{name} must be like that of {self.name}, {_short(wanted)}, got {_short(got)}")

    def observations(self, observation: Any, num_envs: int, *, single: bool) -> Tensor:
        """Float32 `[N, D]` of what N environments show; of one, `single`, without a batch axis."""
        if not self.plain_observations:
            batch = batch_space(self.observation_space, num_envs)
            each = [observation] if single else [*iterate(batch, observation)]
            flat: list[Any] = [spaces.flatten(self.observation_space, entry) for entry in each]
            observation = np.stack(flat)
        x = torch.tensor(np.asarray(observation), dtype=torch.float32)  # a copy: environments may write into theirs
        if x.numel() != num_envs * self.size or (not single and x.shape[0] != num_envs):
            wanted = self.observation_space.shape if single else (num_envs, *(self.observation_space.shape or ()))
            raise ConfigError("observation", f"must have the shape {wanted}, got {tuple(x.shape)}")
        return x.view(num_envs, self.size)

    def actions(self, chosen: Tensor, *, single: bool) -> Any:
        """What N policies chose, `[N]` or `[N, d]`, as actions of the environments; of one, `single`, as its action."""
        array = chosen.cpu().numpy()
        match self.flat:
            case spaces.Discrete(start=start):
                array = array + start
            case spaces.Box(low=low, high=high):
                array = np.clip(array, low, high)
        if not self.plain_actions:
            each = [from_flat(self.action_space, np.atleast_1d(entry)) for entry in array]
            return each[0] if single else np.stack(each)
        return array[0] if single else array


def _alike(flat: spaces.Space[Any], own: spaces.Space[Any]) -> bool:
    """Equal, but for the number that the actions of a finite space start with."""
    match flat, own:
        case spaces.Discrete(n=n), spaces.Discrete(n=wanted):
            return bool(n == wanted)
        case spaces.Box(), spaces.Box():
            return flat.shape == own.shape and np.allclose(flat.low, own.low) and np.allclose(flat.high, own.high)
    return False


def of_envs(envs: Any) -> tuple[int, spaces.Space[Any], spaces.Space[Any]]:
    """Number of environments, and the spaces of one.

    Args:
        envs: an environment or a vector of them.

    Raises:
        ConfigError: if it is neither.
    """
    if isinstance(envs, gymnasium.vector.VectorEnv):
        return envs.num_envs, envs.single_observation_space, envs.single_action_space
    if isinstance(envs, gymnasium.Env):
        return 1, envs.observation_space, envs.action_space
    raise ConfigError("envs", f"must be a number, an Env or a VectorEnv of Gymnasium, got {type(envs).__name__}")


def _short(space: object) -> str:
    text = " ".join(str(space).split())
    return text if len(text) <= 120 else f"{text[:119]}…"
