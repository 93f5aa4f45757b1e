"""Meta-World's benchmarks for meta-learning: robotic manipulation with a Sawyer arm."""

import functools
import pickle
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from metarl_run.component import field
from metarl_run.config.nearest import hint
from metarl_run.env.base import Split, TaskFamily
from metarl_run.env.gymnasium import GymnasiumFamily, GymnasiumTask, Vary
from metarl_run.env.gymnasium_maker import Maker
from metarl_run.env.gymnasium_pool import Pool
from metarl_run.env.metaworld_envs import BenchmarkTask, metaworld_package
from metarl_run.env.parameter import in_turn
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, Whole

FEATURES = 39
"""Hand, gripper and objects now and a step before, and the goal, which the benchmarks for meta-learning hide: 0."""


@dataclass(frozen=True)
class MetaWorldTask(GymnasiumTask):
    """M tasks: index in the benchmark, and the positions that the task is about, as many as its class has, then 0."""

    positions: Float64[Tensor, "M L"]


class MetaWorld(GymnasiumFamily):
    """Tasks of a benchmark: an environment class, such as reach or door-open, and one of its 50 variations.

    Task: environment class, positions of objects and goal; the benchmark's own train and test tasks. A draw has equally
    many tasks of each class, up to one, and of each variation; validation draws from the tasks of meta-test, as there
    are no others. Observation: positions of the hand, the gripper and
    the objects, twice, and a hidden goal. Action: the hand's motion in three directions, and the gripper's force.
    Reward: the class's dense reward, in [0, 10]. Start: the task's. No episode terminates. Outcome: `success`.

    Args:
        benchmark: `ML1` tests variations of one class that training has not seen, the others test new classes.
        task: the class of `ML1`; null with the others.
        goals_seed: of the random variations.

    Raises:
        ConfigError: if Meta-World is not installed as it must be, or has no such class.

    Source: Yu et al. (2019), arXiv:1910.10897; McLean et al. (2025), arXiv:2505.11289.
    """

    benchmark: Literal["ML1", "ML10", "ML25", "ML45"]
    task: str | None
    goals_seed: Whole
    horizon: Count
    id: str | None = field(default=None, init=False)
    make: str | None = field(default="metarl_run.env.metaworld_envs:AnyTask", init=False)
    kwargs: dict[str, Any] | None = field(default=None, init=False)
    vary: Vary | None = field(default=None, init=False)
    vary_in_meta_test: Vary | None = field(default=None, init=False)
    action_repeat: Count = field(default=1, init=False)

    provides: ClassVar[tuple[str, ...]] = ("continuous_actions",)

    def __post_init__(self) -> None:
        self.outcomes = self.outcomes or {}
        TaskFamily.__post_init__(self)
        if (self.benchmark == "ML1") == (self.task is None):
            wanted = (
                "must name a class of environments with ML1" if self.task is None else "must be null unless with ML1"
            )
            raise ConfigError(
                "env.task", f"{wanted}, got {'null' if self.task is None else self.task}", "env.task=reach-v3"
            )
        package = metaworld_package()
        names = list(package.env_dict.ALL_V3_ENVIRONMENTS)
        if self.task is not None and self.task not in names:
            raise ConfigError("env.task", f"Meta-World has no {self.task!r}", hint(self.task, names))
        limit = package.SawyerXYZEnv.max_path_length
        if self.horizon > limit:
            raise ConfigError("env.horizon", f"must be at most Meta-World's own {limit}, got {self.horizon}")
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (FEATURES,))
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,))
        self._pool: Pool | None = None

    @functools.cached_property
    def tasks(self) -> dict[Split, list[BenchmarkTask]]:
        """The benchmark's tasks of both splits; to make them takes a second for each class."""
        return _tasks(self.benchmark, self.task, self.goals_seed)

    @functools.cached_property
    def maker(self) -> Maker:  # type: ignore[override]
        every = [*self.tasks["meta_train"], *self.tasks["meta_test"]]
        return Maker(None, self.make, {"tasks": every}, ["index"], outcomes=self.outcomes or {})

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> MetaWorldTask:
        names = [name for name, _ in self.tasks[split]]
        classes = list(dict.fromkeys(names))
        each = len(names) // len(classes)
        of_class = in_turn(torch.arange(len(classes), device=generator.device), num_tasks, generator).sort().values
        nth = (torch.nn.functional.one_hot(of_class).cumsum(0).gather(1, of_class[:, None]) - 1).squeeze(1)
        keys = torch.rand(len(classes), each, dtype=torch.float64, generator=generator, device=generator.device)
        index = of_class * each + keys.argsort(-1)[of_class, nth % each]
        every = self._numbered(split, generator.device)
        return MetaWorldTask(values=every.values[index], positions=every.positions[index])

    def all_tasks(self, split: Split) -> MetaWorldTask:
        return self._numbered(split, torch.device("cpu"))

    def _numbered(self, split: Split, device: torch.device) -> MetaWorldTask:
        """All tasks of a split, those of a class in a row."""
        first = 0 if split == "meta_train" else len(self.tasks["meta_train"])
        vectors = {each: [pickle.loads(data)["rand_vec"] for _, data in tasks] for each, tasks in self.tasks.items()}
        width = max(len(vector) for of_split in vectors.values() for vector in of_split)
        rows = np.array([np.pad(vector, (0, width - len(vector))) for vector in vectors[split]])
        index = torch.arange(first, first + len(rows), dtype=torch.float32, device=device)[:, None]
        return MetaWorldTask(values=index, positions=torch.from_numpy(rows).to(device))

    def _warn_unless_reproducible(self) -> None:
        """Nothing is drawn in an episode."""


@functools.cache
def _tasks(benchmark: str, task: str | None, seed: int) -> dict[Split, list[BenchmarkTask]]:
    """Tasks of both splits as Meta-World makes them, kept for a second family in this process."""
    make = getattr(metaworld_package(), benchmark)
    made: Any = make(seed=seed) if task is None else make(task, seed=seed)
    splits: dict[Split, Any] = {"meta_train": made.train_tasks, "meta_test": made.test_tasks}
    return {split: [(each.env_name, each.data) for each in tasks] for split, tasks in splits.items()}
