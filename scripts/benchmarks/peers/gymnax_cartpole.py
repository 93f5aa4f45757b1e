"""gymnax's CartPole, vmapped over environments and scanned over time; it draws a reset in every step."""

from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from gymnax.environments.classic_control.cartpole import EnvParams
from jax import Array

from benchmarks.peers.networks import as_jax, mlp
from benchmarks.timing import Work


def stepping(num_envs: int, steps: int) -> Work:
    env, params = gymnax.make("CartPole-v1")
    begin, advance = jax.vmap(env.reset, (0, None)), jax.vmap(env.step, (0, 0, 0, None))

    @jax.jit
    def run(key: Array, state: Any, actions: Array) -> Any:
        def step(carry: Any, action: Array) -> tuple[Any, None]:
            state, key, total = carry
            key, now = jax.random.split(key)
            seen = advance(jax.random.split(now, num_envs), state, action, params)
            observation, state, reward, terminated = seen[:4]
            return (state, key, total + observation.sum(-1) + reward + terminated), None

        return jax.lax.scan(step, (state, key, jnp.zeros(num_envs)), actions)[0]

    key = jax.random.key(0)
    _, state = jax.jit(begin)(jax.random.split(key, num_envs), params)
    actions = jax.random.randint(key, (steps, num_envs), 0, 2)

    def work() -> None:
        nonlocal state, key
        state, key, total = run(key, state, actions)
        total.block_until_ready()

    return work


def rollout(task: Any, stacks: Any, episodes: int, horizon: int) -> Work:
    env, _ = gymnax.make("CartPole-v1")
    tasks = task.num_tasks
    physics = as_jax(
        {
            "gravity": task.gravity,
            "masscart": task.cart_mass,
            "masspole": task.pole_mass,
            "total_mass": task.total_mass,
            "length": task.half_length,
            "polemass_length": task.pole_mass_length,
            "force_mag": task.signed_force,
        }
    )
    params = EnvParams(**physics)
    axes = EnvParams(**{name: 0 if name in physics else None for name in EnvParams.__dataclass_fields__})
    begin = jax.vmap(jax.vmap(env.reset, (0, None)), (0, axes))
    advance = jax.vmap(jax.vmap(env.step, (0, 0, 0, None)), (0, 0, 0, axes))

    @jax.jit
    def run(key: Array, stacks: Any, params: EnvParams) -> Any:
        key, now = jax.random.split(key)
        observation, state = begin(jax.random.split(now, (tasks, episodes)), params)

        def step(carry: Any, key: Array) -> tuple[Any, Any]:
            observation, state = carry
            for_action, for_env = jax.random.split(key)
            action = jax.random.categorical(for_action, mlp(stacks, observation))
            following, state, reward, *ends = advance(
                jax.random.split(for_env, (tasks, episodes)), state, action, params
            )[:5]
            return (following, state), (observation, action, reward, ends[0])

        return jax.lax.scan(step, (observation, state), jax.random.split(key, horizon))[1]

    arrays, key = as_jax(stacks), jax.random.key(0)

    def work() -> None:
        nonlocal key
        key, now = jax.random.split(key)
        jax.block_until_ready(run(now, arrays, params))

    return work
