"""Task families as ordinary Gymnasium environments, for code that knows nothing of meta-learning.

    import metarl_run.env.registration  # makes the names known

    gymnasium.make("metarl_run/CartPoleFamily-v0", split="meta_test", horizon=50)
    gymnasium.make_vec("metarl_run/CartPoleFamily-v0", num_envs=3)

Parameters of the family come from its YAML file; keywords override them. Each environment has a task of its own. A
seeded `reset` draws tasks and all other randomness from the seed; without a seed, tasks stay the same.
`options={"resample_tasks": True or False}` selects either explicitly. Tasks given as `task=` stay.
"""

import importlib
from typing import Any

import gymnasium
import numpy as np
import torch

from metarl_run.env.actions import from_space
from metarl_run.env.base import Split, Task, TaskFamily
from metarl_run.env.check import require_supported_spaces
from metarl_run.env.registration import configuration
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.seeding import Streams


def make_family(option: str, **overrides: Any) -> TaskFamily:
    """The family of `conf/env/<option>.yaml`, with some parameters replaced."""
    values = configuration(option, **overrides)
    module, _, name = values.pop("_target_").rpartition(".")
    family: TaskFamily = getattr(importlib.import_module(module), name)(**values)
    require_supported_spaces(family)
    return family


class FamilyVectorEnv(TaskVectorEnv):
    """Parallel environments, each with a task of its own.

    Args:
        option: the family's configuration, a file of `conf/env`.
        num_envs: number of environments.
        split: tasks are drawn from the distributions of this split.
        task: given tasks, one per environment, instead of drawn ones.
        overrides: parameters that replace the file's.
    """

    def __init__(
        self,
        option: str,
        *,
        num_envs: int = 1,
        split: Split = "meta_train",
        task: Task | None = None,
        **overrides: Any,
    ) -> None:
        family = make_family(option, **overrides)
        generator = torch.Generator()
        generator.seed()  # from the operating system, until a reset gives a seed
        self._split, self._stay = split, task is not None
        task = task or family.sample(num_envs, split, generator)
        if task.num_tasks != num_envs:
            raise ValueError(f"task must hold one task per environment: {num_envs}, got {task.num_tasks}")
        super().__init__(family, task, episodes_per_task=1, generator=generator)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        options = dict(options or {})
        if options.pop("resample_tasks", seed is not None and not self._stay) and "task" not in options:
            base = int(self.np_random.integers(2**63)) if seed is None else seed
            stream = Streams(base, self.generator.device)(f"{self._split}/tasks")
            options["task"] = self.family.sample(self.num_tasks, self._split, stream)
        return super().reset(seed=seed, options=options)


class FamilyEnv(gymnasium.Env[np.ndarray, Any]):
    """One environment with one task; the arguments are those of `FamilyVectorEnv`."""

    def __init__(self, option: str, **arguments: Any) -> None:
        self.batch = FamilyVectorEnv(option, num_envs=1, **arguments)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.batch.reset(seed=seed, options=options)
        return observation[0], info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        chosen = from_space(action, self.action_space, self.batch.generator.device)
        step = self.batch.advance(chosen[None, None])
        terminated, ended = bool(step.terminated), bool(step.ended)
        return step.observation[0, 0].numpy(), float(step.reward), terminated, ended and not terminated, {}
