"""The project's objects, built as in a run."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.timing import Work
from metarl_run.algo.base import MetaAlgorithm
from metarl_run.config.compose import compose_points
from metarl_run.env.base import TaskFamily
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.run.agent import build_agent
from metarl_run.seeding import Streams

LASTING = (
    "env=cartpole_family",
    "env.horizon=100",
    "env.meta_train.gravity=[uniform,0.01,0.05]",
    "env.meta_train.force=[uniform,0.0001,0.0002]",
)
"""CartPoles that cannot fall within the horizon, whatever the actions: all subjects then take every step."""


def built(*overrides: str) -> tuple[TaskFamily, Any]:
    """The task family and the algorithm."""
    found: tuple[TaskFamily, MetaAlgorithm] = build_agent(
        compose_points(["logger=files", *overrides]).points[0].config, Streams(0, torch.device("cpu"))
    )
    return found


def batch(family: TaskFamily, num_tasks: int, episodes_per_task: int) -> TaskVectorEnv:
    """Tasks of meta-training with their parallel environments."""
    generator = torch.Generator().manual_seed(0)
    tasks = family.sample(num_tasks, "meta_train", generator)
    return TaskVectorEnv(family, tasks, episodes_per_task=episodes_per_task, generator=generator)


def stepping(env: TaskVectorEnv, actions: Sequence[torch.Tensor]) -> Work:
    """One step of all environments with each of these actions, in episodes without end."""
    with torch.inference_mode():
        env.start(episodes=2**30)

    def work() -> None:
        with torch.inference_mode():
            for action in actions:
                env.advance(action)

    return work
