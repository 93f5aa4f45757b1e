"""Task families as ordinary Gymnasium environments, for code that knows nothing of meta-learning.

    import metarl_run.env.registration  # makes the names known

    gymnasium.make("metarl_run/CartPoleFamily-v0", split="meta_test", horizon=50)
    gymnasium.make_vec("metarl_run/CartPoleFamily-v0", num_envs=3)

Parameters of the family come from its YAML file; keywords override them. Each environment has a task of its own. A
seeded `reset` draws tasks and all other randomness from the seed; without a seed, tasks stay the same.
`options={"resample_tasks": True or False}` selects either explicitly. Tasks given as `task=` stay.

Parallel environments draw from one generator. A list of seeds, one per environment or None, gives an environment the
task and the start that it has by itself with that seed; what it draws later depends on the whole list.

Families that draw themselves have `render_mode="rgb_array"`.
"""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.env.actions import from_space
from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.check import require_supported_spaces
from metarl_run.env.registration import configuration
from metarl_run.env.vector import TaskVectorEnv, Transition, by_env
from metarl_run.errors import ConfigError
from metarl_run.seeding import Streams

RENDERING: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}

MOST_STEPS = 1000
"""Steps that a picture shows at most, the latest."""

Seeds = int | Sequence[int | None] | None


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
        render_mode: what `render` returns: a picture of each environment, or None.
        overrides: parameters that replace the file's.

    Raises:
        ConfigError: if the family cannot be drawn, but shall be.
    """

    metadata = RENDERING  # Gymnasium reads it from the class

    def __init__(
        self,
        option: str,
        *,
        num_envs: int = 1,
        split: Split = "meta_train",
        task: Task | None = None,
        render_mode: Literal["rgb_array"] | None = None,
        **overrides: Any,
    ) -> None:
        family = make_family(option, **overrides)
        generator = torch.Generator()
        generator.seed()  # from the operating system, until a reset gives a seed
        self._split, self._stay = split, task is not None
        task = task or family.sample(num_envs, split, generator)
        if task.num_tasks != num_envs:
            raise ValueError(f"task must hold one task per environment: {num_envs}, got {task.num_tasks}")
        self.render_mode = render_mode
        self._seeds: list[int | None] = []
        self._pictures: list[np.ndarray | None] = [None] * num_envs
        self._past: list[list[Step]] = [[] for _ in range(num_envs)]
        super().__init__(family, task, episodes_per_task=1, generator=generator)
        drawn = type(family).render is not TaskFamily.render
        if render_mode is not None and not drawn:
            raise ConfigError("render_mode", f"must be None: {type(family).__name__} cannot be drawn")
        self.metadata = {**self.metadata, **RENDERING, **({} if drawn else {"render_modes": []})}

    def reset(self, *, seed: Seeds = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """The first observations of all environments.

        Args:
            seed: of all randomness; or one per environment, see the module. The common generator is seeded anew if the
                list holds no None.
            options: see the module; `task` replaces the tasks.
        """
        listed = isinstance(seed, Sequence)
        self._seeds = list(seed) if isinstance(seed, Sequence) else []
        if listed and len(self._seeds) != self.num_envs:
            raise ValueError(f"seed must hold one seed per environment: {self.num_envs}, got {len(self._seeds)}")
        common = _common(self._seeds) if isinstance(seed, Sequence) else seed
        options = dict(options or {})
        seeded = seed is not None and (not listed or any(own is not None for own in self._seeds))
        if options.pop("resample_tasks", seeded and not self._stay) and "task" not in options:
            options["task"] = self._redrawn() if listed else self._tasks(self.num_tasks, self._base(common))
        return super().reset(seed=common, options=options)

    def _base(self, seed: int | None) -> int:
        return int(self.np_random.integers(2**63)) if seed is None else seed

    def _redrawn(self) -> Task:
        """The tasks, those of environments that have a seed drawn anew."""
        each = [
            self.task.select(slice(i, i + 1)) if seed is None else self._tasks(1, seed)
            for i, seed in enumerate(self._seeds)
        ]
        fields = {name: torch.cat([task.tensors()[name] for task in each]) for name in self.task.tensors()}
        return type(self.task)(**fields)

    def _tasks(self, number: int, seed: int) -> Task:
        stream = Streams(seed, self.generator.device)(f"{self._split}/tasks")
        return self.family.sample(number, self._split, stream)

    def _first_states(self) -> Any:
        states = super()._first_states()
        for i, seed in enumerate(self._seeds):  # one by one: each from a generator of its own
            if seed is not None:
                generator = torch.Generator(self.generator.device).manual_seed(seed)
                start = self.family.reset(self.task.select(slice(i, i + 1)), 1, generator)
                for all_of_them, own in zip(by_env(states), by_env(start), strict=True):
                    all_of_them[i] = own[0]
        return states

    def start(self, episodes: int = 1) -> Tensor:
        self._begin_pictures(range(self.num_envs))
        return super().start(episodes)

    def _enter(self, task: Task) -> None:
        if getattr(self, "task", None) is not task:
            self._past = [[] for _ in range(task.num_tasks)]
        super()._enter(task)

    def advance(self, action: Tensor) -> Transition:
        if self.render_mode is None:
            return super().advance(action)
        going = [(i, self.first_of(i)) for i, alive in enumerate(self.alive[:, 0].tolist()) if alive]
        transition = super().advance(action)
        for i, state in going:
            self._past[i] = [
                *self._past[i][1 - MOST_STEPS :],
                Step(state, action[i : i + 1], float(transition.reward[i])),
            ]
        return transition

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        waiting = [] if self._state is None else (~self.alive[:, 0]).nonzero().flatten().tolist()
        stepped = super().step(actions)
        self._begin_pictures(waiting)
        return stepped

    def _begin_pictures(self, envs: Iterable[int]) -> None:
        """Episodes begin in these environments; where they are single steps, pictures show all of a task."""
        for i in envs:
            self._pictures[i] = None
            if self.horizon > 1:
                self._past[i] = []

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A picture of each environment; the last one of an episode stands until the next begins."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("render was called before reset; call reset first")
        if self.render_mode is None:
            gymnasium.logger.warn("render was called, but the environment was made without render_mode='rgb_array'")
            return None
        for i, alive in enumerate(self.alive[:, 0].tolist()):
            if alive or self.horizon == 1 or self._pictures[i] is None:
                task = self.task.select(slice(i, i + 1))
                self._pictures[i] = self.family.render(task, self.first_of(i), self._past[i])
        return tuple(picture for picture in self._pictures if picture is not None)


def _common(seeds: Sequence[int | None]) -> int | None:
    """A seed that follows from all of a list; None if one of them is."""
    given = [seed for seed in seeds if seed is not None]
    return int(np.random.SeedSequence(given).generate_state(1)[0]) if len(given) == len(seeds) else None


class FamilyEnv(gymnasium.Env[np.ndarray, Any]):
    """One environment with one task; the arguments are those of `FamilyVectorEnv`."""

    metadata = RENDERING  # Gymnasium reads it from the class

    def __init__(self, option: str, **arguments: Any) -> None:
        self.batch = FamilyVectorEnv(option, num_envs=1, **arguments)
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space
        self.render_mode = self.batch.render_mode
        self.metadata = {name: self.batch.metadata[name] for name in RENDERING}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        observation, info = self.batch.reset(seed=seed, options=options)
        return observation[0], info

    def render(self) -> np.ndarray | None:
        pictures = self.batch.render()
        return pictures[0] if pictures else None

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        chosen = from_space(action, self.action_space, self.batch.generator.device)
        step = self.batch.advance(chosen[None, None])
        terminated, ended = bool(step.terminated), bool(step.ended)
        return step.observation[0, 0].numpy(), float(step.reward), terminated, ended and not terminated, {}
