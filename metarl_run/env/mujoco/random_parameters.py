"""Robots whose physical parameters differ from task to task."""

import functools
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from metarl_run.env.base import Split, Task
from metarl_run.env.mujoco.base import MujocoFamily
from metarl_run.env.mujoco.simulator import MujocoState
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions, NonNegative

Multipliers = Annotated[
    dict[str, Any],
    Distributions(
        "body_mass",
        "body_inertia",
        "dof_damping",
        "geom_friction",
        positive=("body_mass", "body_inertia", "dof_damping", "geom_friction"),
    ),
]


@dataclass(frozen=True)
class RandomParametersTask(Task):
    """Fields of MjModel of M robots: masses (kg), inertias (kg m²), damping of joints (N m s), friction of geoms."""

    body_mass: Float64[Tensor, "M nbody"]
    body_inertia: Float64[Tensor, "M nbody 3"]
    dof_damping: Float64[Tensor, "M nv"]
    geom_friction: Float64[Tensor, "M ngeom 3"]

    @functools.cached_property
    def parameters(self) -> dict[str, Tensor]:
        return self.tensors()


class RandomParameters(MujocoFamily):
    """Base of robots that hop or walk with masses, inertias, damping and friction of their own.

        r = (x′ − x) / Δt + b − c ‖a‖²,        b = `healthy_reward`,        c = `control_cost`

    Task: every entry of the model's four fields is multiplied by a number of its own. Observation: q without x, and q̇
    clipped to ±10. Start: every coordinate of q and q̇ is offset by U[−ε, ε], ε = `start_noise`.

    Differs from the published code: what MuJoCo derives from masses and inertias is derived anew in each task.

    Args:
        healthy_reward: added to the reward of every step.
        meta_train: the distribution of the multipliers of each field in meta-training.
        meta_test: the same in meta-testing.

    Source: the environments of Rothfuss et al. (2019), arXiv:1810.06784, and Rakelly et al. (2019), arXiv:1903.08254.
    """

    healthy_reward: NonNegative
    meta_train: Multipliers
    meta_test: Multipliers

    largest_speed: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.multipliers: dict[Split, Multipliers] = {"meta_train": self.meta_train, "meta_test": self.meta_test}

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> RandomParametersTask:
        values = {}
        for name in [field.name for field in fields(RandomParametersTask)]:
            value = torch.from_numpy(getattr(self.model, name).copy()).to(generator.device)
            factor = sample(self.multipliers[split][name], num_tasks * value.numel(), generator)
            values[name] = value * factor.double().view(num_tasks, *value.shape)
        return RandomParametersTask(**values)

    def start(
        self, shape: tuple[int, int], generator: torch.Generator
    ) -> tuple[Float64[Tensor, "M B nq"], Float64[Tensor, "M B nv"]]:
        return self.uniform((*shape, self.model.nq), generator), self.uniform((*shape, self.model.nv), generator)

    def parameters(self, task: RandomParametersTask) -> dict[str, Tensor]:
        return task.parameters

    def observe(self, task: Any, state: MujocoState) -> Float[Tensor, "M B D"]:
        speed = state.qvel.clamp(-self.largest_speed, self.largest_speed)
        return torch.cat([state.qpos[..., 1:], speed], -1).float()

    def reward(self, task: Any, before: MujocoState, after: MujocoState) -> Float64[Tensor, "M B"]:
        return (after.qpos[..., 0] - before.qpos[..., 0]) / self.dt + self.healthy_reward
