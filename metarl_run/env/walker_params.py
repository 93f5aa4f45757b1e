"""Walkers that differ in mass, inertia, damping and friction."""

from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from metarl_run.env.mujoco.random_parameters import RandomParameters
from metarl_run.env.mujoco.simulator import MujocoState

LOWEST, HIGHEST, STEEPEST = 0.8, 2.0, 1.0  # m; m; rad


class WalkerParams(RandomParameters):
    """Walk forward on two legs; see `RandomParameters` for tasks, observation and reward.

    Action: six torques in [−1, 1]. Termination: z outside (0.8, 2.0) m or |angle| ≥ 1 rad. Optimal return: not known.
    """

    model_file: ClassVar[str] = "walker2d_v5.xml"
    frame_skip: ClassVar[int] = 4

    def healthy(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        z, angle = state.qpos[..., 1], state.qpos[..., 2]
        return (z > LOWEST) & (z < HIGHEST) & (angle.abs() < STEEPEST)
