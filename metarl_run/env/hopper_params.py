"""Hoppers that differ in mass, inertia, damping and friction."""

from typing import ClassVar

from jaxtyping import Bool
from torch import Tensor

from metarl_run.env.mujoco.random_parameters import RandomParameters
from metarl_run.env.mujoco.simulator import MujocoState

LOWEST, STEEPEST, LARGEST = 0.7, 0.2, 100.0  # m; rad; of any other coordinate


class HopperParams(RandomParameters):
    """Hop forward on one leg; see `RandomParameters` for tasks, observation and reward.

    Action: three torques in [−1, 1]. Termination: z ≤ 0.7 m, |angle| ≥ 0.2 rad, or any other coordinate ≥ 100. Optimal
    return: not known.
    """

    model_file: ClassVar[str] = "hopper.xml"
    frame_skip: ClassVar[int] = 4

    def healthy(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        z, angle = state.qpos[..., 1], state.qpos[..., 2]
        bounded = (state.qpos[..., 2:].abs() < LARGEST).all(-1) & (state.qvel.abs() < LARGEST).all(-1)
        return bounded & (z > LOWEST) & (angle.abs() < STEEPEST)
