"""The half-cheetah: a planar robot of two legs, six torques, that cannot fall for good."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.mujoco.base import MujocoFamily
from metarl_run.env.mujoco.simulator import MujocoState


class HalfCheetah(MujocoFamily):
    """Base of the half-cheetah's families.

    Observation: q without x, q̇, and the torso's position if asked for. Action: six torques in [−1, 1]. Start: every
    coordinate of q is offset by U[−ε, ε] and every one of q̇ is ε 𝒩(0, 1), ε = `start_noise`. Termination: never.

    Args:
        observe_torso: observe the torso's position (x, y, z) in the world, m.
    """

    observe_torso: bool

    model_file: ClassVar[str] = "half_cheetah.xml"
    frame_skip: ClassVar[int] = 5
    starts_alike: ClassVar[bool] = True

    def observe(self, task: Any, state: MujocoState) -> Float[Tensor, "M B D"]:
        features = [state.qpos[..., 1:], state.qvel]
        if self.observe_torso:
            x, z = state.qpos[..., :1], state.qpos[..., 1:2]
            features += [x, torch.zeros_like(x), z + float(self.model.body("torso").pos[2])]
        return torch.cat(features, -1).float()

    def velocity(self, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        """v = (x′ − x) / Δt, m/s."""
        return (after.qpos[..., 0] - before.qpos[..., 0]) / self.dt
