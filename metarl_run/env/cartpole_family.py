"""CartPoles that differ in gravity, masses, length and force, and in the direction in which an action pushes."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import hardshrink

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import ACCENT, INK, MUTED, Canvas, mixed
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions

Physics = Annotated[
    dict[str, Any],
    Distributions(
        "gravity",
        "cart_mass",
        "pole_mass",
        "half_length",
        "force",
        "force_sign",
        positive=("cart_mass", "pole_mass", "half_length", "force"),
        among={"force_sign": (-1, 1)},
    ),
]

TIME_STEP = 0.02  # s
MAX_POSITION = 2.4  # m
MAX_ANGLE = math.radians(12)
START = 0.05  # every state variable starts in [-START, START]


@dataclass(frozen=True)
class CartPoleTask(Task):
    """M CartPoles.

    Attributes:
        gravity: g, m/s².
        cart_mass: kg.
        pole_mass: m, kg.
        half_length: l, m: half of the pole's length.
        force: F, N: the strength of a push.
        force_sign: +1 if action 1 pushes to the right, −1 if to the left.
    """

    gravity: Float[Tensor, " M"]
    cart_mass: Float[Tensor, " M"]
    pole_mass: Float[Tensor, " M"]
    half_length: Float[Tensor, " M"]
    force: Float[Tensor, " M"]
    force_sign: Float[Tensor, " M"]

    @property
    def total_mass(self) -> Float[Tensor, " M"]:
        return self.cart_mass + self.pole_mass

    @property
    def pole_mass_length(self) -> Float[Tensor, " M"]:
        return self.pole_mass * self.half_length

    @property
    def signed_force(self) -> Float[Tensor, " M"]:
        """The force of action 1; action 0 is its opposite."""
        return self.force * self.force_sign

    @functools.cached_property
    def constants(self) -> "Constants":
        """Constants of the step, computed once per batch of tasks."""
        push = self.signed_force / self.pole_mass_length
        ratio = self.pole_mass_length / self.total_mass
        return Constants(
            push=torch.stack([-push, push], -1),
            minus_gravity=(-self.gravity / ratio)[:, None],
            inertia=(self.half_length * 4 / 3 / ratio - 1)[:, None],
            cart=(ratio * TIME_STEP)[:, None],
        )


class Constants(NamedTuple):
    """Combinations of a batch's parameters.

    Attributes:
        push: ± F / (m l), one column per action, `[M, 2]`.
        minus_gravity: − g total / (m l), `[M, 1]`.
        inertia: 4 total / (3 m) − 1, `[M, 1]`.
        cart: m l / total · time step, `[M, 1]`.
    """

    push: Tensor
    minus_gravity: Tensor
    inertia: Tensor
    cart: Tensor


class Values(NamedTuple):
    """Fields of `CartPoleState`.

    Attributes:
        values: x, ẋ, θ, θ̇; fastest if each of the four is contiguous, as `reset` makes them.
    """

    values: Float[Tensor, "M B 4"]


class CartPoleState(Values):
    """Position (m), angle from the upright (rad), and the velocity of each: what is observed."""

    @functools.cached_property
    def parts(self) -> tuple[Tensor, ...]:
        """Views for the step, made once: x, ẋ, θ, θ̇; x and θ; ẋ and θ̇; and the reward of every step."""
        values = self.values
        return (*values.unbind(-1), values[..., ::2], values[..., 1::2], torch.ones_like(values[..., 0]))


class CartPoleFamily(TaskFamily):
    """Balance a pole on a cart; its physics and the meaning of its actions vary from task to task.

        p = ± F / (m l) + θ̇² sin θ                + for action 1, times the hidden force_sign
        θ̈ = (g total / (m l) · sin θ − p cos θ) / (4 total / (3 m) − cos² θ)
        ẍ = (m l / total) (p − θ̈ cos θ)

    integrated by explicit Euler steps of 0.02 s. Task: six parameters, each with a distribution of its own.
    Observation: x, ẋ, θ, θ̇. Action: 0 or 1. Reward: 1 for every step. Start: each of the four in U[−0.05, 0.05].
    Termination: |x| > 2.4 m or |θ| > 12°. Optimal return: the horizon.

    Args:
        meta_train: the distribution of each parameter in meta-training.
        meta_test: the same in meta-testing.

    Raises:
        ValueError: if a mass, the length or the force could be drawn ≤ 0, or a sign other than −1 and 1.

    Source: Barto, Sutton & Anderson (1983); the equations of Florian (2007), "Correct equations for the dynamics of the
    cart-pole system", without friction, as in Gymnasium's CartPole.
    """

    meta_train: Physics
    meta_test: Physics

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions",)
    starts_alike: ClassVar[bool] = True
    compilable: ClassVar[bool] = True
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"observation": (4,)}

    def __post_init__(self) -> None:
        super().__post_init__()
        self.physics: dict[Split, Physics] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        high = np.array([2 * MAX_POSITION, np.inf, 2 * MAX_ANGLE, np.inf], dtype=np.float32)
        self.observation_space = gymnasium.spaces.Box(-high, high)
        self.action_space = gymnasium.spaces.Discrete(2)

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> CartPoleTask:
        physics = self.physics[split]
        # In the order of the record's fields, whatever the order in the configuration.
        return CartPoleTask(
            gravity=sample(physics["gravity"], num_tasks, generator),
            cart_mass=sample(physics["cart_mass"], num_tasks, generator),
            pole_mass=sample(physics["pole_mass"], num_tasks, generator),
            half_length=sample(physics["half_length"], num_tasks, generator),
            force=sample(physics["force"], num_tasks, generator),
            force_sign=sample(physics["force_sign"], num_tasks, generator),
        )

    def reset(self, task: CartPoleTask, num_episodes: int, generator: torch.Generator) -> CartPoleState:
        start = torch.empty(4, task.num_tasks, num_episodes, device=generator.device)
        return CartPoleState(start.uniform_(-START, START, generator=generator).movedim(0, -1))

    def step(
        self, task: CartPoleTask, state: CartPoleState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[CartPoleState, Tensor, Tensor]:
        push, minus_gravity, inertia, cart = task.constants
        x, x_dot, theta, theta_dot, positions, velocities, reward = state.parts
        sin, cos = theta.sin(), theta.cos()
        p = push.gather(1, action).addcmul_(sin * theta_dot, theta_dot)
        divisor = torch.addcmul(inertia, sin, sin)  # cos² θ = 1 − sin² θ
        # −θ̈, because adding a product is faster than subtracting one.
        minus_theta_acc = sin.mul_(minus_gravity).addcmul_(p, cos).div_(divisor)
        positions.add_(velocities, alpha=TIME_STEP)
        x_dot.addcmul_(p.addcmul_(minus_theta_acc, cos), cart)
        theta_dot.sub_(minus_theta_acc, alpha=TIME_STEP)
        # Values within their limit shrink to 0: comparing floats takes twice as long.
        return state, reward, torch.logical_or(hardshrink(x, MAX_POSITION), hardshrink(theta, MAX_ANGLE))

    def observe(self, task: CartPoleTask, state: CartPoleState) -> Float[Tensor, "M B 4"]:
        return state.values.clone()

    def render(self, task: CartPoleTask, state: CartPoleState, past: Sequence[Step] = ()) -> np.ndarray:
        """The cart on its track, and the push that brought it there: longest for the strongest of 15 N."""
        (x, _, θ, _), length = state.values[0, 0].tolist(), 2 * float(task.half_length[0])
        canvas, floor = Canvas(-MAX_POSITION - 0.1, MAX_POSITION + 0.1), -1.0
        for limit in (-MAX_POSITION, MAX_POSITION):
            canvas.line([(limit, floor - 0.15), (limit, floor + 0.15)], MUTED)
        canvas.line([(-MAX_POSITION, floor), (MAX_POSITION, floor)], MUTED)
        axle = floor + 0.2
        canvas.box((x - 0.32, floor), (x + 0.32, axle + 0.1), mixed(INK, 0.25))
        canvas.line([(x, axle), (x + length * math.sin(θ), axle + length * math.cos(θ))], ACCENT, 7)
        canvas.dot((x, axle), 3, INK)
        if past:
            push = float(task.signed_force[0]) * (2 * int(past[-1].action) - 1) / 15
            canvas.arrow((x, floor - 0.3), (x + push, floor - 0.3))
        return canvas.array()
