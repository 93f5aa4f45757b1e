"""CartPoles with per-task physics as batched arrays `[M, B]`, in JAX."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.peers.networks import Params, as_jax, mlp
from benchmarks.timing import Work

TIME_STEP, MAX_POSITION, MAX_ANGLE, START = 0.02, 2.4, math.radians(12), 0.05


class Physics(NamedTuple):
    """Physics of each task, `[M, 1]`; `push` is the acceleration of action 1, force over total mass."""

    gravity: Array
    push: Array
    moment_ratio: Array
    inertia: Array


class State(NamedTuple):
    """Position, angle and their velocities, `[M, B]`."""

    x: Array
    x_dot: Array
    theta: Array
    theta_dot: Array


class Steps(NamedTuple):
    """A rollout, `[T, M, B, …]`."""

    observation: Array
    action: Array
    reward: Array
    alive: Array


def physics_of(task: Any) -> Physics:
    found = as_jax(
        {
            "gravity": task.gravity,
            "push": task.signed_force / task.total_mass,
            "moment_ratio": task.pole_mass_length / task.total_mass,
            "inertia": task.half_length * 4 / 3,
        }
    )
    return Physics(**{name: value[:, None] for name, value in found.items()})


def start(key: Array, shape: tuple[int, ...]) -> State:
    return State(*jax.random.uniform(key, (4, *shape), minval=-START, maxval=START))


def observe(state: State) -> Array:
    return jnp.stack(state, -1)


def advance(physics: Physics, state: State, action: Array) -> tuple[State, Array]:
    """The next state, and True where the pole has fallen or the cart has left."""
    x, x_dot, theta, theta_dot = state
    sin, cos = jnp.sin(theta), jnp.cos(theta)
    push = jnp.where(action == 1, physics.push, -physics.push)
    tmp = push + physics.moment_ratio * theta_dot**2 * sin
    theta_acc = (physics.gravity * sin - cos * tmp) / (physics.inertia - physics.moment_ratio * cos**2)
    x_acc = tmp - physics.moment_ratio * theta_acc * cos
    state = State(
        x + TIME_STEP * x_dot,
        x_dot + TIME_STEP * x_acc,
        theta + TIME_STEP * theta_dot,
        theta_dot + TIME_STEP * theta_acc,
    )
    return state, (jnp.abs(state.x) > MAX_POSITION) | (jnp.abs(state.theta) > MAX_ANGLE)


def stepping(task: Any, episodes: int, steps: int, horizon: int) -> Work:
    shape, physics = (task.num_tasks, episodes), physics_of(task)

    @jax.jit
    def run(key: Array, state: State, elapsed: Array, actions: Array, physics: Physics) -> Any:
        key, now = jax.random.split(key)

        def step(carry: Any, given: Any) -> tuple[Any, None]:
            state, elapsed, total = carry
            action, key = given
            state, terminated = advance(physics, state, action)
            elapsed = elapsed + 1
            ended = terminated | (elapsed >= horizon)
            fresh = start(key, shape)
            state = State(*(jnp.where(ended, new, old) for new, old in zip(fresh, state, strict=True)))
            total = total + observe(state).sum(-1) + 1.0 + terminated
            return (state, jnp.where(ended, 0, elapsed), total), None

        given = (actions, jax.random.split(now, steps))
        return key, *jax.lax.scan(step, (state, elapsed, jnp.zeros(shape)), given)[0]

    key = jax.random.key(0)
    state, elapsed = start(key, shape), jnp.zeros(shape, jnp.int32)
    actions = jax.random.randint(key, (steps, *shape), 0, 2)

    def work() -> None:
        nonlocal key, state, elapsed
        key, state, elapsed, total = run(key, state, elapsed, actions, physics)
        total.block_until_ready()

    return work


def collect(physics: Physics, stacks: Params, key: Array, episodes: int, horizon: int) -> Steps:
    """One episode per environment, with separate parameters per task; environments step on after their episode ends."""
    shape = (physics.gravity.shape[0], episodes)
    for_start, for_noise = jax.random.split(key)
    state = start(for_start, shape)
    noise = jax.random.gumbel(for_noise, (horizon, *shape, 2))

    def step(carry: Any, noise: Array) -> tuple[Any, Steps]:
        state, alive = carry
        observation = observe(state)
        action = jnp.argmax(mlp(stacks, observation) + noise, -1)
        state, terminated = advance(physics, state, action)
        return (state, alive & ~terminated), Steps(observation, action, alive.astype(jnp.float32), alive)

    steps: Steps = jax.lax.scan(step, (state, jnp.ones(shape, bool)), noise)[1]
    return steps


def rollout(task: Any, stacks: Any, episodes: int, horizon: int) -> Work:
    physics, arrays, key = physics_of(task), as_jax(stacks), jax.random.key(0)
    run = jax.jit(collect, static_argnames=("episodes", "horizon"))

    def work() -> None:
        nonlocal key
        key, now = jax.random.split(key)
        jax.block_until_ready(run(physics, arrays, now, episodes, horizon))

    return work
