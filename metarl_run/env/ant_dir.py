"""Ants that must run in a given direction."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.ant import Ant
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import listed, sample_alone
from metarl_run.kinds import Distributions

Angles = Annotated[dict[str, Any], Distributions("angle")]


@dataclass(frozen=True)
class AntDirTask(Task):
    """M directions: angles from the x axis, rad."""

    angle: Float[Tensor, " M"]

    @property
    def direction(self) -> Float[Tensor, "M 1 2"]:
        angle = self.angle.double().unsqueeze(1)
        return torch.stack([angle.cos(), angle.sin()], -1)


class AntDir(Ant):
    """Run in a direction that only the reward reveals.

        r = ⟨(p′ − p) / Δt, (cos φ, sin φ)⟩ + b 1[healthy] − c ‖a‖² − k ‖clip(f, −1, 1)‖²,        Δt = 0.05 s

    with p = (x, y), contact forces f, b = `healthy_reward`, c = `control_cost`, k = `contact_cost`.

    Task: φ, rad. Termination: z outside `healthy_z`. Optimal return: not known.

    Differs from the papers: v5's model and MuJoCo 4. Contact forces are computed; under the versions of MuJoCo that the
    papers' code ran on, they were zero.

    Args:
        meta_train: the distribution of the angle in meta-training.
        meta_test: the same in meta-testing.

    Source: the code of Rothfuss et al. (2019), arXiv:1810.06784, AntRandDirec2D, and of Rakelly et al. (2019),
    arXiv:1903.08254, ant-dir; forward and backward, Finn et al. (2017), arXiv:1703.03400.
    """

    meta_train: Angles
    meta_test: Angles

    def __post_init__(self) -> None:
        super().__post_init__()
        self.angles: dict[Split, Angles] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> AntDirTask:
        return AntDirTask(angle=sample_alone(self.angles[split]["angle"], num_tasks, generator))

    def all_tasks(self, split: Split) -> AntDirTask | None:
        values = listed(self.angles[split]["angle"])
        return None if values is None else AntDirTask(angle=values)

    def progress(self, task: AntDirTask, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        velocity = (self.position(after) - self.position(before)) / self.dt
        return (velocity * task.direction).sum(-1)
