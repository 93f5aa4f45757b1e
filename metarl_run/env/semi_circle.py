"""A point that must find a hidden goal on a semicircle by a reward that is paid near it alone."""

import functools
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.drawing import GOAL, PALE, Canvas
from metarl_run.env.parameter import listed, sample_alone
from metarl_run.env.point import Point, PointState
from metarl_run.kinds import Distributions, Positive

Angles = Annotated[dict[str, Any], Distributions("angle")]


@dataclass(frozen=True)
class SemiCircleTask(Task):
    """M goals on the unit circle: angles from the x axis, rad."""

    angle: Float[Tensor, " M"]

    @functools.cached_property
    def goal(self) -> Float[Tensor, "M 1 2"]:
        return torch.stack([self.angle.cos(), self.angle.sin()], -1).unsqueeze(1)


class SemiCircle(Point):
    """Find a goal on the unit circle that only the reward reveals, and only nearby.

        p′ = p + a,        r = 1 − d if d ≤ ρ, else 0        or        r = −d,        d = ‖p′ − (cos φ, sin φ)‖

    Task: φ, rad. Observation: p. Action: a in [−v, v]², v = `max_step`. Start: the origin. Termination: never. Optimal
    return: `optimal_return`.

    Differs from PEARL: one reward serves meta-training and adaptation, as in VariBAD; PEARL's actor and critic
    meta-learn from −d, and only its encoder from the sparse reward. Its angles are 100 equidistant ones, 80 for
    meta-training and 20 for meta-testing.

    Args:
        goal_radius: ρ, largest distance from the goal at which the sparse reward is paid.
        reward: sparse, or minus the distance.
        meta_train: the distribution of the angle in meta-training.
        meta_test: the same in meta-testing.

    Source: the code of Rakelly et al. (2019), arXiv:1903.08254, `sparse-point-robot`, and of Zintgraf et al. (2020),
    arXiv:1910.08348, `SparsePointEnv`.
    """

    goal_radius: Positive
    reward: Literal["sparse", "distance"]
    meta_train: Angles
    meta_test: Angles

    fixed_starts: ClassVar[bool] = True
    starts_alike: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sparse = self.reward == "sparse"
        self.angles: dict[Split, Angles] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> SemiCircleTask:
        return SemiCircleTask(angle=sample_alone(self.angles[split]["angle"], num_tasks, generator))

    def all_tasks(self, split: Split) -> SemiCircleTask | None:
        values = listed(self.angles[split]["angle"])
        return None if values is None else SemiCircleTask(angle=values)

    def reset(self, task: SemiCircleTask, num_episodes: int, generator: torch.Generator) -> PointState:
        return PointState(task.angle.new_zeros(task.num_tasks, num_episodes, 2))

    def reward_at(self, distance: Tensor) -> Tensor:
        return (1 - distance) * (distance <= self.goal_radius) if self.sparse else distance.neg()

    def draw_goal(self, canvas: Canvas, task: SemiCircleTask) -> None:
        steps = [math.pi * step / 40 for step in range(41)]
        canvas.line([(math.cos(angle), math.sin(angle)) for angle in steps], PALE, 1)
        canvas.dot(task.goal[0, 0].tolist(), self.goal_radius * canvas.scale, GOAL, filled=False)

    def optimal_return(self, task: SemiCircleTask) -> Float[Tensor, " M"]:
        """The largest sum of an episode's rewards in each task: of going straight along each axis."""
        return self.reward_at(self.smallest_distances(torch.zeros_like(task.goal), task.goal)).sum(1)
