"""MAML in JAX: two rollouts, the adaptation between them, the meta-gradient through it and Adam, all in one jit.

REINFORCE with the mean return at the step as baseline, normalised advantages, and Loaded DiCE as surrogate.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.peers.jax_cartpole import Steps, collect, physics_of
from benchmarks.peers.networks import Adam, Params, adam, adam_start, as_jax, log_prob, mlp
from benchmarks.timing import Work

LR, MAX_NORM = 1e-8, 10.0


def losses(stacks: Params, steps: Steps, discount: float) -> Array:
    """Loss of each task, `[M]`."""
    alive = steps.alive.astype(jnp.float32)
    count = alive.sum((0, 2)).clip(1)

    def mean(x: Array) -> Array:
        return (x * alive).sum((0, 2)) / count

    def back(following: Array, reward: Array) -> tuple[Array, Array]:
        following = reward + discount * following
        return following, following

    returns = jax.lax.scan(back, jnp.zeros_like(steps.reward[0]), steps.reward, reverse=True)[1]
    baseline = (returns * alive).sum(-1, keepdims=True) / alive.sum(-1, keepdims=True).clip(1)
    advantage = returns - baseline
    advantage = advantage - mean(advantage)[:, None]
    advantage = advantage / (jnp.sqrt(mean(advantage**2)) + 1e-8)[:, None]
    advantage = jax.lax.stop_gradient(advantage)

    time, tasks, episodes = steps.reward.shape
    rows = steps.observation.transpose(1, 0, 2, 3).reshape(tasks, time * episodes, -1)
    logits = mlp(stacks, rows).reshape(tasks, time, episodes, -1).transpose(1, 0, 2, 3)
    log_π = log_prob(logits, steps.action)
    log_ρ = log_π - jax.lax.stop_gradient(log_π)
    through = jnp.cumsum(log_ρ, 0)
    return -mean((jnp.exp(through) - jnp.exp(through - log_ρ)) * advantage)


def meta_iteration(
    task: Any, meta_params: Any, episodes: int, horizon: int, *, inner_lr: float, discount: float
) -> Work:
    physics = physics_of(task)
    tasks = task.num_tasks

    @jax.jit
    def run(params: Params, optimizer: Adam, key: Array) -> tuple[Params, Adam, Array]:
        key, first, second = jax.random.split(key, 3)

        def meta_loss(params: Params) -> Array:
            stacks = {name: jnp.broadcast_to(θ, (tasks, *θ.shape)) for name, θ in params.items()}
            before = collect(physics, jax.lax.stop_gradient(stacks), first, episodes, horizon)
            gradients = jax.grad(lambda φ: losses(φ, before, discount).sum())(stacks)
            adapted = jax.tree.map(lambda φ, g: φ - inner_lr * g, stacks, gradients)
            after = collect(physics, jax.lax.stop_gradient(adapted), second, episodes, horizon)
            return losses(adapted, after, discount).mean()

        params, optimizer = adam(params, jax.grad(meta_loss)(params), optimizer, LR, MAX_NORM)
        return params, optimizer, key

    params, key = as_jax(meta_params), jax.random.key(0)
    optimizer = adam_start(params)

    def work() -> None:
        nonlocal params, optimizer, key
        params, optimizer, key = jax.block_until_ready(run(params, optimizer, key))

    return work
