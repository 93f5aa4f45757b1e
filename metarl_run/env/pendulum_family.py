"""Pendulums that differ in mass, length and gravity."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import ACCENT, INK, PALE, RED, Canvas
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions

Physics = Annotated[dict[str, Any], Distributions("mass", "length", "gravity", positive=("mass", "length"))]

TIME_STEP = 0.05  # s
MAX_TORQUE = 2.0  # N m
MAX_SPEED = 8.0  # rad/s
START = (math.pi, 1.0)  # an episode starts with |θ| (rad) and |θ̇| (rad/s) up to this


@dataclass(frozen=True)
class PendulumTask(Task):
    """M pendulums.

    Attributes:
        mass: m, kg.
        length: l, m.
        gravity: g, m/s².
    """

    mass: Float[Tensor, " M"]
    length: Float[Tensor, " M"]
    gravity: Float[Tensor, " M"]

    @functools.cached_property
    def pull(self) -> Float[Tensor, "M 1"]:
        """3 g / (2 l), s⁻²."""
        return (1.5 * self.gravity / self.length).unsqueeze(1)

    @functools.cached_property
    def push(self) -> Float[Tensor, "M 1"]:
        """3 / (m l²), per N m of torque."""
        return (3 / (self.mass * self.length**2)).unsqueeze(1)


class PendulumState(NamedTuple):
    """Angle from the upright (rad), any number of turns, and angular velocity (rad/s)."""

    angle: Float[Tensor, "M B"]
    velocity: Float[Tensor, "M B"]


class PendulumFamily(TaskFamily):
    """Swing up a rod, and hold it there, whose mass and length vary from task to task.

        θ̇′ = clip(θ̇ + (3 g / (2 l) · sin θ + 3 u / (m l²)) Δt, −8, 8),        θ′ = θ + θ̇′ Δt,        Δt = 0.05 s
        r = −(θ² + 0.1 θ̇² + 0.001 u²),        θ in [−π, π), before the step

    Task: three numbers, each with a distribution of its own. Observation: cos θ, sin θ, θ̇. Action: the torque u in
    [−2, 2] N m. Start: θ in U[−π, π], θ̇ in U[−1, 1]. Termination: never. Optimal return: not known.

    Args:
        meta_train: the distribution of each parameter in meta-training.
        meta_test: the same in meta-testing.

    Source: Gymnasium's Pendulum-v1, which is this with m = 1, l = 1 and g = 10.
    """

    meta_train: Physics
    meta_test: Physics

    provides: ClassVar[tuple[str, ...]] = ("continuous_actions",)
    starts_alike: ClassVar[bool] = True
    compilable: ClassVar[bool] = True
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"observation": (3,)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.physics: dict[Split, Physics] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        high = np.array([1, 1, MAX_SPEED], dtype=np.float32)
        self.observation_space = gymnasium.spaces.Box(-high, high)
        self.action_space = gymnasium.spaces.Box(-MAX_TORQUE, MAX_TORQUE, (1,))

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> PendulumTask:
        physics = self.physics[split]
        # In the order of the record's fields, whatever the order in the configuration.
        return PendulumTask(
            mass=sample(physics["mass"], num_tasks, generator),
            length=sample(physics["length"], num_tasks, generator),
            gravity=sample(physics["gravity"], num_tasks, generator),
        )

    def reset(self, task: PendulumTask, num_episodes: int, generator: torch.Generator) -> PendulumState:
        start = [torch.empty(task.num_tasks, num_episodes, device=generator.device) for _ in START]
        return PendulumState(
            *(x.uniform_(-high, high, generator=generator) for x, high in zip(start, START, strict=True))
        )

    def step(
        self, task: PendulumTask, state: PendulumState, action: Float[Tensor, "M B 1"], noise: None
    ) -> tuple[PendulumState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        θ, θ_dot = state
        u = action.squeeze(-1)  # within the action space: the environment clips
        tilt = torch.remainder(θ + math.pi, 2 * math.pi) - math.pi
        reward = -(tilt**2 + 0.1 * θ_dot**2 + 0.001 * u**2)
        θ_dot = (θ_dot + (task.pull * θ.sin() + task.push * u) * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED)
        return PendulumState(θ + θ_dot * TIME_STEP, θ_dot), reward, torch.zeros_like(reward, dtype=torch.bool)

    def observe(self, task: PendulumTask, state: PendulumState) -> Float[Tensor, "M B 3"]:
        return torch.stack([state.angle.cos(), state.angle.sin(), state.velocity], -1)

    def render(self, task: PendulumTask, state: PendulumState, past: Sequence[Step] = ()) -> np.ndarray:
        """The rod, thicker the heavier it is, and the torque as an arc around its pivot."""
        θ, length = float(state.angle), float(task.length)
        far = max(1.7, 1.1 * length)
        canvas = Canvas(-far, far)
        canvas.line([(0, 0), (0, far)], PALE, 1)
        end = length * math.sin(θ), length * math.cos(θ)
        canvas.line([(0, 0), end], ACCENT, 8 * math.sqrt(float(task.mass)))
        canvas.dot(end, 4 * math.sqrt(float(task.mass)), ACCENT)
        canvas.dot((0, 0), 4, INK)
        if past:
            torque = float(past[-1].action.clamp(-MAX_TORQUE, MAX_TORQUE))
            # A positive one turns clockwise, away from the upright to the right.
            angles = [torque / MAX_TORQUE * math.pi / 2 * part / 20 for part in range(21)]
            arc = [(0.45 * math.sin(angle), 0.45 * math.cos(angle)) for angle in angles]
            canvas.line(arc, RED, 2)
            canvas.arrow(arc[-3], arc[-1], RED, 2)
        return canvas.array()
