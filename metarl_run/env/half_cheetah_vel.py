"""Half-cheetahs that must run at a given velocity."""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.half_cheetah import HalfCheetah
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import listed, sample_alone
from metarl_run.kinds import Distributions

Velocities = Annotated[dict[str, Any], Distributions("velocity")]


@dataclass(frozen=True)
class HalfCheetahVelTask(Task):
    """M velocities, m/s."""

    velocity: Float[Tensor, " M"]


class HalfCheetahVel(HalfCheetah):
    """Run at a velocity that only the reward reveals.

        r = −|(x′ − x) / Δt − v| − c ‖a‖²,        Δt = 0.05 s,        c = `control_cost`

    Task: v, m/s. Optimal return: not known; 0 is an upper bound.

    Differs from MAML's paper: v5's model and MuJoCo 4, whose x is the torso joint's instead of its centre of mass.

    Args:
        meta_train: the distribution of the velocity in meta-training.
        meta_test: the same in meta-testing.

    Source: Finn et al. (2017), arXiv:1703.03400, section 5.3; reward, horizon and observation as Rakelly et al. (2019),
    arXiv:1903.08254, and Zintgraf et al. (2020), arXiv:1910.08348, use them.
    """

    meta_train: Velocities
    meta_test: Velocities

    def __post_init__(self) -> None:
        super().__post_init__()
        self.velocities: dict[Split, Velocities] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> HalfCheetahVelTask:
        return HalfCheetahVelTask(velocity=sample_alone(self.velocities[split]["velocity"], num_tasks, generator))

    def all_tasks(self, split: Split) -> HalfCheetahVelTask | None:
        values = listed(self.velocities[split]["velocity"])
        return None if values is None else HalfCheetahVelTask(velocity=values)

    def reward(self, task: HalfCheetahVelTask, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        return -(self.velocity(before, after) - task.velocity.unsqueeze(1)).abs()
