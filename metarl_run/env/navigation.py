"""A point in the plane with a hidden goal."""

import functools
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.parameter import sample
from metarl_run.env.point import Point, PointState
from metarl_run.kinds import Distributions, NonNegative

Places = Annotated[dict[str, Any], Distributions("goal_x", "goal_y", "start_x", "start_y")]


@dataclass(frozen=True)
class NavigationTask(Task):
    """M pairs of a goal and a start."""

    goal_x: Float[Tensor, " M"]
    goal_y: Float[Tensor, " M"]
    start_x: Float[Tensor, " M"]
    start_y: Float[Tensor, " M"]

    @functools.cached_property
    def goal(self) -> Float[Tensor, "M 1 2"]:
        return torch.stack([self.goal_x, self.goal_y], -1).unsqueeze(1)

    @functools.cached_property
    def start(self) -> Float[Tensor, "M 1 2"]:
        return torch.stack([self.start_x, self.start_y], -1).unsqueeze(1)


class Navigation(Point):
    """Move to a goal that only the reward reveals.

        p′ = p + a,        r = −‖p′ − goal‖        or        r = −‖p′ − goal‖²

    Task: goal and start, four coordinates, each with a distribution of its own. Observation: p. Action: a in [−v, v]²,
    v = `max_step`. Termination: ‖p′ − goal‖ < goal_radius. Optimal return: `optimal_return`.

    Args:
        reward: minus the distance or minus its square.
        goal_radius: distance from the goal within which an episode ends; 0 is never.
        meta_train: the distribution of each coordinate in meta-training.
        meta_test: the same in meta-testing.

    Source: Finn et al. (2017), arXiv:1703.03400, section 5.3; with a start that varies from task to task, Li et al.
    (2017), arXiv:1707.09835.
    """

    reward: Literal["distance", "squared_distance"]
    goal_radius: NonNegative
    meta_train: Places
    meta_test: Places

    fixed_starts: ClassVar[bool] = True
    view: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.squared = self.reward == "squared_distance"
        self.places: dict[Split, Places] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> NavigationTask:
        places = self.places[split]
        # In the order of the record's fields, whatever the order in the configuration.
        return NavigationTask(
            goal_x=sample(places["goal_x"], num_tasks, generator),
            goal_y=sample(places["goal_y"], num_tasks, generator),
            start_x=sample(places["start_x"], num_tasks, generator),
            start_y=sample(places["start_y"], num_tasks, generator),
        )

    def reset(self, task: NavigationTask, num_episodes: int, generator: torch.Generator) -> PointState:
        return PointState(task.start.repeat(1, num_episodes, 1))

    def reward_at(self, distance: Tensor) -> Tensor:
        return distance.square().neg_() if self.squared else distance.neg()

    def ends_at(self, distance: Tensor) -> Tensor:
        return distance < self.goal_radius

    def optimal_return(self, task: NavigationTask) -> Float[Tensor, " M"]:
        """The largest sum of an episode's rewards in each task.

            G = Σₜ −dₜ        or        Σₜ −dₜ²,        dₜ = ‖max(|goal − start| − t v, 0)‖,        t = 1, 2, …, H

        up to the first t with dₜ < goal_radius, which going straight along each axis reaches first too.
        """
        distance = self.smallest_distances(task.start, task.goal)
        reward = self.reward_at(distance)
        reward[:, 1:] *= distance[:, :-1] >= self.goal_radius
        return reward.sum(1)
