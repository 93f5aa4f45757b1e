"""RL² in JAX: a GRU or a minimal one over lifetimes in random MDPs, and PPO on them; the networks are the project's.

Old log-probabilities are kept from the rollout, advantages are estimated once, and all passes are one jitted function.
A minimal GRU learns by `associative_scan`, or step by step, which may be faster on a CPU.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.peers.networks import Adam, Params, adam, adam_start, as_jax, log_prob
from benchmarks.timing import Work

DISCOUNT, GAE_LAMBDA, CLIP, VALUE_WEIGHT, VALUE_SCALE = 0.99, 0.95, 0.2, 0.5, 10.0
REWARD_STD = 1.0
LR, MAX_NORM = 1e-8, 10.0


class Steps(NamedTuple):
    """Lifetimes, `[T, N, …]`."""

    x: Array
    action: Array
    reward: Array
    log_prob: Array
    value: Array


def gru(params: Params, g: Array, h: Array) -> Array:
    H = h.shape[-1]
    m = h @ params["memory.weight"]
    r, z = jnp.split(jax.nn.sigmoid(g[:, : 2 * H] + m[:, : 2 * H]), 2, -1)
    n = jnp.tanh(g[:, 2 * H :] + r * (m[:, 2 * H :] + params["memory.bias"]))
    return (1 - z) * n + z * h


def min_gru(params: Params, g: Array, h: Array) -> Array:
    n, z = jnp.split(g, 2, -1)
    z = jax.nn.sigmoid(z)
    return (1 - z) * n + z * h


Cell = Callable[[Params, Array, Array], Array]
CELLS: Mapping[str, Cell] = {"gru": gru, "min_gru": min_gru}


def heads(params: Params, h: Array, x: Array) -> tuple[Array, Array]:
    """Logits, and the value."""
    logits, value = (
        h @ params[f"{head}.weight"] + x @ params[f"{head}.shortcut"] + params[f"{head}.bias"]
        for head in ("policy", "value")
    )
    return logits, value[..., 0] * VALUE_SCALE


def collect(
    params: Params, cumulative: Array, mean_reward: Array, key: Array, cell: Cell, episodes: int, horizon: int
) -> Steps:
    """Lifetimes in one MDP each: `cumulative` P(next ≤ s′ | s, a), `[N, S, A, S − 1]`, `mean_reward` `[N, S, A]`."""
    N, S, A = mean_reward.shape
    T, H, task = episodes * horizon, params["policy.weight"].shape[0], jnp.arange(N)
    for_action, for_state, for_reward = jax.random.split(key, 3)
    gumbel = jax.random.gumbel(for_action, (T, N, A))
    uniform = jax.random.uniform(for_state, (T, N))
    normal = jax.random.normal(for_reward, (T, N))

    def step(carry: Any, given: Any) -> tuple[Any, Steps]:
        state, h, action, reward, ended = carry
        t, gumbel, u, normal = given
        x = jnp.concatenate([jax.nn.one_hot(state, S), jax.nn.one_hot(action, A), reward[:, None], ended[:, None]], -1)
        h = cell(params, x @ params["input.weight"] + params["input.bias"], h)
        logits, value = heads(params, h, x)
        action = jnp.argmax(logits + gumbel, -1)
        reward = mean_reward[task, state, action] + REWARD_STD * normal
        state = (u[:, None] >= cumulative[task, state, action]).sum(-1)
        ends = (t + 1) % horizon == 0
        state = jnp.where(ends, 0, state)
        seen = Steps(x, action, reward, log_prob(logits, action), value)
        return (state, h, action, reward, jnp.broadcast_to(ends, (N,)).astype(jnp.float32)), seen

    begin = (jnp.zeros(N, int), jnp.zeros((N, H)), jnp.zeros(N, int), jnp.zeros(N), jnp.ones(N))
    steps: Steps = jax.lax.scan(step, begin, (jnp.arange(T), gumbel, uniform, normal))[1]
    return steps


def advantages(reward: Array, value: Array) -> Array:
    """Generalised advantage estimates along lifetimes that terminate."""
    following = jnp.concatenate([value[1:], jnp.zeros_like(value[:1])])
    δ = reward + DISCOUNT * following - value

    def back(total: Array, δ: Array) -> tuple[Array, Array]:
        total = δ + DISCOUNT * GAE_LAMBDA * total
        return total, total

    return jax.lax.scan(back, jnp.zeros_like(value[0]), δ, reverse=True)[1]


def step_by_step(cell: Cell, params: Params, g: Array) -> Array:
    """h of all steps."""

    def step(h: Array, g: Array) -> tuple[Array, Array]:
        h = cell(params, g, h)
        return h, h

    return jax.lax.scan(step, jnp.zeros((g.shape[1], params["policy.weight"].shape[0])), g)[1]


def associative(cell: Cell, params: Params, g: Array) -> Array:
    """h of all steps of a minimal GRU."""
    n, z = jnp.split(g, 2, -1)
    z = jax.nn.sigmoid(z)

    def after(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
        (a, b), (c, d) = one, other
        return a * c, b * c + d

    return jax.lax.associative_scan(after, (z, (1 - z) * n))[1]


Memories = Callable[[Cell, Params, Array], Array]


def loss(params: Params, steps: Steps, advantage: Array, target: Array, cell: Cell, memories: Memories) -> Array:
    h = memories(cell, params, steps.x @ params["input.weight"] + params["input.bias"])
    logits, value = heads(params, h, steps.x)
    ρ = jnp.exp(log_prob(logits, steps.action) - steps.log_prob)
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = jnp.minimum(ρ * advantage, jnp.clip(ρ, 1 - CLIP, 1 + CLIP) * advantage).mean()
    return -gain + VALUE_WEIGHT * (((value - target) / VALUE_SCALE) ** 2).mean()


def update(
    params: Params,
    optimizer: Adam,
    steps: Steps,
    cell: Cell,
    memories: Memories,
    passes: int,
    minibatches: int,
) -> tuple[Params, Adam]:
    advantage = advantages(steps.reward, steps.value)
    data = (steps, advantage, advantage + steps.value)

    def parts(x: Array) -> Array:
        """`[T, N, …]` → `[minibatches, T, n, …]`."""
        return jnp.moveaxis(x.reshape(x.shape[0], -1, minibatches, *x.shape[2:]), 2, 0)

    def step(carry: Any, part: Any) -> tuple[Any, None]:
        params, optimizer = carry
        return adam(params, jax.grad(loss)(params, *part, cell, memories), optimizer, LR, MAX_NORM), None

    split = jax.tree.map(parts, data)

    def one_pass(carry: Any, _: None) -> tuple[Any, None]:
        return jax.lax.scan(step, carry, split)[0], None

    found: tuple[Params, Adam] = jax.lax.scan(one_pass, (params, optimizer), None, length=passes)[0]
    return found


def work(
    part: str,
    network: str,
    task: Any,
    meta_params: Any,
    episodes: int,
    horizon: int,
    passes: int,
    minibatches: int,
    *,
    parallel: bool,
) -> Work:
    """The rollout, or the update.

    Args:
        part: which one.
        network: a key of `CELLS`.
        parallel: learn by `associative`.
    """
    cell, memories = CELLS[network], associative if parallel else step_by_step
    tables = as_jax({"cumulative": task.transition.cumsum(-1)[..., :-1], "mean_reward": task.mean_reward})
    params, key = as_jax(meta_params), jax.random.key(0)
    live = jax.jit(collect, static_argnames=("cell", "episodes", "horizon"))
    learn = jax.jit(update, static_argnames=("cell", "memories", "passes", "minibatches"))
    lifetimes = live(params, **tables, key=key, cell=cell, episodes=episodes, horizon=horizon)
    optimizer = adam_start(params)

    def rollout() -> None:
        nonlocal key
        key, now = jax.random.split(key)
        jax.block_until_ready(live(params, **tables, key=now, cell=cell, episodes=episodes, horizon=horizon))

    def improve() -> None:
        nonlocal params, optimizer
        params, optimizer = jax.block_until_ready(
            learn(params, optimizer, lifetimes, cell, memories, passes, minibatches)
        )

    return rollout if part == "rollout" else improve
