"""Shared parts of the JAX peers: the project's parameters as arrays, its MLP, and Adam."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Params = dict[str, Array]
Adam = tuple[Params, Params, Array]
"""First and second moments, and the number of steps."""


def as_jax(tensors: Mapping[str, Any]) -> Params:
    return {name: jnp.array(tensor.detach().numpy()) for name, tensor in tensors.items()}


def mlp(params: Params, x: Array) -> Array:
    """Logits, for one set of parameters or a stack of them."""
    x = jnp.tanh(x @ params["policy.0.weight"] + params["policy.0.bias"])
    x = jnp.tanh(x @ params["policy.1.weight"] + params["policy.1.bias"])
    return x @ params["policy.2.weight"] + params["policy.2.bias"]


def log_prob(logits: Array, action: Array) -> Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits), action[..., None], -1)[..., 0]


def adam_start(params: Params) -> Adam:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return zeros, zeros, jnp.zeros((), jnp.int32)


def adam(params: Params, gradients: Params, state: Adam, lr: float, max_norm: float) -> tuple[Params, Adam]:
    """A step of Adam with the gradient clipped to the norm `max_norm`."""
    norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradients)))
    scale = jnp.minimum(max_norm / jnp.maximum(norm, 1e-12), 1.0)
    first, second, step = state
    step = step + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g * scale, first, gradients)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * (g * scale) ** 2, second, gradients)
    params = jax.tree.map(
        lambda θ, m, v: θ - lr * (m / (1 - 0.9**step)) / (jnp.sqrt(v / (1 - 0.999**step)) + 1e-8), params, first, second
    )
    return params, (first, second, step)
