"""A point that starts anywhere in a square and must go to a hidden place in it."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.parameter import sample
from metarl_run.env.point import Point, PointState
from metarl_run.kinds import Distributions, NonNegative

Places = Annotated[dict[str, Any], Distributions("goal_x", "goal_y")]


@dataclass(frozen=True)
class PointRobotTask(Task):
    """M goals."""

    goal_x: Float[Tensor, " M"]
    goal_y: Float[Tensor, " M"]

    @functools.cached_property
    def goal(self) -> Float[Tensor, "M 1 2"]:
        return torch.stack([self.goal_x, self.goal_y], -1).unsqueeze(1)


class PointRobot(Point):
    """Move to a goal that only the reward reveals, from a start drawn anew in every episode.

        p′ = p + a,        r = −‖p′ − goal‖

    Task: the goal's two coordinates. Observation: p. Action: a in [−v, v]², v = `max_step`. Start: uniform in
    [−s, s]², s = `start_range`. Termination: never. Optimal return: depends on the starts.

    Differs from the published code: tasks are drawn from a distribution instead of a list of 80 and one of 20.

    Args:
        start_range: s, half the side of the square in which episodes start.
        meta_train: the distribution of each coordinate in meta-training.
        meta_test: the same in meta-testing.

    Source: the code of Rakelly et al. (2019), arXiv:1903.08254, `point-robot`.
    """

    start_range: NonNegative
    meta_train: Places
    meta_test: Places

    starts_alike: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.places: dict[Split, Places] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> PointRobotTask:
        places = self.places[split]
        return PointRobotTask(
            goal_x=sample(places["goal_x"], num_tasks, generator),
            goal_y=sample(places["goal_y"], num_tasks, generator),
        )

    def reset(self, task: PointRobotTask, num_episodes: int, generator: torch.Generator) -> PointState:
        u = torch.rand(task.num_tasks, num_episodes, 2, generator=generator, device=generator.device)
        return PointState((2 * u - 1) * self.start_range)

    def reward_at(self, distance: Tensor) -> Tensor:
        return distance.neg()
