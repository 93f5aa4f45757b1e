"""Ants that must reach a hidden goal."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.ant import Ant
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions

Places = Annotated[dict[str, Any], Distributions("angle", "squared_distance")]


@dataclass(frozen=True)
class AntGoalTask(Task):
    """M goals in polar coordinates.

    Attributes:
        angle: from the x axis, rad.
        squared_distance: from the start, m²; uniform for goals that are uniform over a disc.
    """

    angle: Float[Tensor, " M"]
    squared_distance: Float[Tensor, " M"]

    @property
    def goal(self) -> Float[Tensor, "M 1 2"]:
        angle, distance = self.angle.double(), self.squared_distance.double().sqrt()
        return (distance.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)).unsqueeze(1)


class AntGoal(Ant):
    """Walk to a goal that only the reward reveals.

        r = −‖p′ − g‖₁ + b 1[healthy] − c ‖a‖² − k ‖clip(f, −1, 1)‖²

    with p = (x, y), contact forces f, b = `healthy_reward`, c = `control_cost`, k = `contact_cost`.

    Task: g, two coordinates. Termination: never as configured. Optimal return: not known.

    Differs from the papers: v5's model and MuJoCo 4. Contact forces are computed; under the versions of MuJoCo that the
    papers' code ran on, they were zero.

    Args:
        meta_train: the distribution of the goal's polar coordinates in meta-training.
        meta_test: the same in meta-testing.

    Source: Rothfuss et al. (2019), arXiv:1810.06784; Rakelly et al. (2019), arXiv:1903.08254.
    """

    meta_train: Places
    meta_test: Places

    def __post_init__(self) -> None:
        super().__post_init__()
        self.places: dict[Split, Places] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> AntGoalTask:
        places = self.places[split]
        return AntGoalTask(
            angle=sample(places["angle"], num_tasks, generator),
            squared_distance=sample(places["squared_distance"], num_tasks, generator),
        )

    def progress(self, task: AntGoalTask, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        return -(self.position(after) - task.goal).abs().sum(-1)
