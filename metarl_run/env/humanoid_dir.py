"""Humanoids that must run in a given direction."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.base import MujocoFamily
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import sample
from metarl_run.kinds import Bounds, Distributions, NonNegative

Angles = Annotated[dict[str, Any], Distributions("angle")]
LARGEST_CONTACT_COST = 10.0


@dataclass(frozen=True)
class HumanoidDirTask(Task):
    """M directions: angles from the x axis, rad."""

    angle: Float[Tensor, " M"]

    @property
    def direction(self) -> Float[Tensor, "M 1 2"]:
        angle = self.angle.double().unsqueeze(1)
        return torch.stack([angle.cos(), angle.sin()], -1)


class HumanoidDir(MujocoFamily):
    """Run in a direction that only the reward reveals.

        r = w ⟨(p′ − p) / Δt, (cos φ, sin φ)⟩ + b − c ‖a‖² − min(k ‖f‖², 10),        Δt = 0.015 s

    with p the centre of mass (x, y), contact forces f, w = `forward_weight`, b = `healthy_reward`, c =
    `control_cost`, k = `contact_cost`.

    Task: φ, rad. Observation: q without x and y, q̇, inertias and velocities of the bodies' centres of mass, forces of
    the actuators, contact forces: 376 numbers. Action: 17 torques. Start: every coordinate of q and q̇ is offset by
    U[−ε, ε], ε = `start_noise`. Termination: z outside `healthy_z`. Optimal return: not known.

    Differs from the papers: v5's model and MuJoCo 4. Contact forces are computed; under the versions of MuJoCo that the
    papers' code ran on, they were zero.

    Args:
        forward_weight: weight of the velocity.
        contact_cost: weight of the squared contact forces.
        healthy_reward: added to the reward of every step.
        healthy_z: heights of the torso within which the episode goes on, m.
        meta_train: the distribution of the angle in meta-training.
        meta_test: the same in meta-testing.

    Source: Rakelly et al. (2019), arXiv:1903.08254, Humanoid-Direc-2D.
    """

    forward_weight: NonNegative
    contact_cost: NonNegative
    healthy_reward: NonNegative
    healthy_z: Bounds
    meta_train: Angles
    meta_test: Angles

    model_file: ClassVar[str] = "humanoid.xml"
    frame_skip: ClassVar[int] = 5
    derived: ClassVar[tuple[str, ...]] = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext", "xipos")
    starts_alike: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.angles: dict[Split, Angles] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> HumanoidDirTask:
        return HumanoidDirTask(angle=sample(self.angles[split]["angle"], num_tasks, generator))

    def start(
        self, shape: tuple[int, int], generator: torch.Generator
    ) -> tuple[Float64[Tensor, "M B nq"], Float64[Tensor, "M B nv"]]:
        return self.uniform((*shape, self.model.nq), generator), self.uniform((*shape, self.model.nv), generator)

    def observe(self, task: Any, state: MujocoState) -> Float[Tensor, "M B D"]:
        end = self.simulator.slice_of("cfrc_ext").stop
        return torch.cat([state.qpos[..., 2:], state.qvel, state.derived[..., :end]], -1).float()

    def reward(self, task: HumanoidDirTask, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        velocity = (self.centre_of_mass(after) - self.centre_of_mass(before)) / self.dt
        contacts = self.field(after, "cfrc_ext").square().sum((-1, -2))
        cost = (self.contact_cost * contacts).clamp(max=LARGEST_CONTACT_COST)
        return self.forward_weight * (velocity * task.direction).sum(-1) + self.healthy_reward - cost

    def healthy(self, state: MujocoState) -> Bool[Tensor, "M B"]:
        low, high = self.healthy_z
        z = state.qpos[..., 2]
        return (low <= z) & (z <= high)

    def centre_of_mass(self, state: MujocoState) -> Float64[Tensor, "M B 2"]:
        mass = torch.from_numpy(self.model.body_mass).to(state.qpos)
        return (self.field(state, "xipos")[..., :2] * mass.unsqueeze(-1)).sum(-2) / mass.sum()
