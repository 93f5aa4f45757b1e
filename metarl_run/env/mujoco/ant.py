"""The ant: a torso with four legs of two joints each, in three dimensions."""

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metarl_run.env.mujoco.base import MujocoFamily
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.kinds import Bounds, NonNegative


class Ant(MujocoFamily):
    """Base of the ant's families.

    Observation: q without x and y, q̇; x, y and the clipped contact forces if asked for. Action: eight torques in
    [−1, 1]. Start: every coordinate of q is offset by U[−ε, ε] and every one of q̇ is ε 𝒩(0, 1), ε = `start_noise`.

    Args:
        contact_cost: weight of the squared contact forces, each clipped to [−1, 1], in the reward.
        healthy_reward: added to the reward of every step after which the ant is healthy.
        healthy_z: heights of the torso within which the ant is healthy, m.
        terminate_when_unhealthy: end the episode otherwise.
        observe_position: observe x and y too.
        observe_contacts: observe the contact forces on every body but the world, clipped to [−1, 1].
    """

    contact_cost: NonNegative
    healthy_reward: NonNegative
    healthy_z: Bounds
    terminate_when_unhealthy: bool
    observe_position: bool
    observe_contacts: bool

    model_file: ClassVar[str] = "ant.xml"
    frame_skip: ClassVar[int] = 5
    derived: ClassVar[tuple[str, ...]] = ("xpos", "cfrc_ext")
    starts_alike: ClassVar[bool] = True

    def observe(self, task: Any, state: MujocoState) -> Float[Tensor, "M B D"]:
        features = [state.qpos if self.observe_position else state.qpos[..., 2:], state.qvel]
        if self.observe_contacts:
            features.append(self.contacts(state)[..., 1:, :].flatten(-2))
        return torch.cat(features, -1).float()

    def reward(self, task: Any, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        contacts = self.contacts(after).square().sum((-1, -2))
        return (
            self.progress(task, before, after)
            + self.healthy_reward * self._upright(after)
            - self.contact_cost * contacts
        )

    def healthy(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        return self._upright(state) if self.terminate_when_unhealthy else super().healthy(state)

    @abstractmethod
    def progress(self, task: Any, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        """The part of the reward that depends on the task."""

    def position(self, state: MujocoState) -> Float64[Tensor, "M B 2"]:
        """x and y of the torso, m; as Gymnasium's, from before the last substep."""
        return self.field(state, "xpos")[..., 1, :2]

    def contacts(self, state: MujocoState) -> Float64[Tensor, "M B nbody 6"]:
        """Torques and forces on every body, clipped to [−1, 1]."""
        return self.field(state, "cfrc_ext").clamp(-1, 1)

    def _upright(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        low, high = self.healthy_z
        z = state.qpos[..., 2]
        return (low <= z) & (z <= high)
