"""Base of the families whose state is a point in the plane that looks for a hidden goal."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.env.base import Step, TaskFamily
from metarl_run.env.drawing import GOAL, MUTED, PALE, TRAIL, Canvas
from metarl_run.kinds import Positive


class PointState(NamedTuple):
    """Position of the point: x and y."""

    position: Float[Tensor, "M B 2"]


class Point(TaskFamily):
    """Move to a goal g that only the reward reveals.

        p′ = p + a,        r = r(d),        d = ‖p′ − g‖

    Tasks have a property `goal`, `[M, 1, 2]`. Observation: p. Action: a in [−v, v]².

    Args:
        max_step: v, the longest step along each axis.

    Attributes:
        view: largest coordinate in pictures.
    """

    max_step: Positive

    provides: ClassVar[tuple[str, ...]] = ("continuous_actions",)
    compilable: ClassVar[bool] = True
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"observation": (2,)}
    view: ClassVar[float] = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
        self.action_space = gymnasium.spaces.Box(-self.max_step, self.max_step, (2,))

    def step(
        self, task: Any, state: PointState, action: Float[Tensor, "M B 2"], noise: None
    ) -> tuple[PointState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        state.position.add_(action)
        distance = torch.linalg.vector_norm(state.position - task.goal, dim=-1)
        return state, self.reward_at(distance), self.ends_at(distance)

    @abstractmethod
    def reward_at(self, distance: Tensor) -> Tensor:
        """r(d), which does not increase with d."""

    def ends_at(self, distance: Tensor) -> Tensor:
        """The episode ends at this distance."""
        return torch.zeros_like(distance, dtype=torch.bool)

    def observe(self, task: Any, state: PointState) -> Float[Tensor, "M B 2"]:
        return state.position.clone()

    def render(self, task: Any, state: PointState, past: Sequence[Step] = ()) -> np.ndarray:
        canvas = Canvas(-self.view, self.view)
        canvas.line([(-self.view, 0), (self.view, 0)], PALE, 1)
        canvas.line([(0, -self.view), (0, self.view)], PALE, 1)
        self.draw_goal(canvas, task)
        path = [point.position[0, 0].tolist() for point in (*(step.state for step in past), state)]
        canvas.line(path, TRAIL, 2)
        canvas.dot(path[0], 3, MUTED)
        canvas.dot(path[-1], 5)
        return canvas.array()

    def draw_goal(self, canvas: Canvas, task: Any) -> None:
        canvas.dot(task.goal[0, 0].tolist(), 8, GOAL, filled=False)

    def smallest_distances(self, start: Float[Tensor, "M 1 2"], goal: Float[Tensor, "M 1 2"]) -> Float[Tensor, "M T"]:
        """dₜ = ‖max(|g − start| − t v, 0)‖, t = 1, 2, …, H.

        Axes are clipped separately, so going straight along each minimises every distance at once.
        """
        t = torch.arange(1, self.horizon + 1).to(goal).view(-1, 1)
        distance: Tensor = ((goal - start).abs() - t * self.max_step).clamp(min=0).norm(dim=-1)
        return distance
