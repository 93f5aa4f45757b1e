"""Decoder of latent task descriptions: predicted rewards and transitions."""

from collections.abc import Collection
from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.kinds import Count, Widths
from metarl_run.learner.base import action_size
from metarl_run.learner.inputs import action_features, observation_size
from metarl_run.network.by_rows import by_rows
from metarl_run.network.mlp import LAST_LAYER_SCALE, MLP
from metarl_run.network.product import linear, matmul
from metarl_run.network.read import StateRead
from metarl_run.types import Params, Rollout

CACHED = 2**19
"""Elements of one activation at a time, for each thread."""


def with_large_heads(params: Params, heads: Collection[str]) -> Params:
    """The parameters with heads as large as the other layers at first.

    Heads start small for the sake of policies. In encoder and decoder that is a saddle: how the error depends on μ
    and on what μ is decoded by are products with each other's heads, and learning hardly begins if both are small.
    """
    return {name: θ / LAST_LAYER_SCALE if name in heads else θ for name, θ in params.items()}


class Decoder(Component):
    """Prediction errors of a lifetime given a latent description m of its task.

        Eᵣ(m) = ½ Σₜ (rₜ − r̂(m, sₜ, aₜ, sₜ₊₁))²,        Eₛ(m) = ½ Σₜ ‖sₜ₊₁ − ŝ(m, sₜ, aₜ)‖²

    They equal −log p(τ | m), up to a constant, for Gaussian rewards and states of variance 1. Where step t ends an
    episode, the next observation belongs to a new one: r̂ reads an end flag instead of sₜ₊₁, and Eₛ has no term.

    In tabular families r̂ may be a table R̂(m) of all pairs (s, a) instead, of which m is read by the state:

        Eᵣ(m) = ½ Σₛₐ nₛₐ (R̂ₛₐ(m) − r̄ₛₐ)² + ½ Σₜ (rₜ − r̄)²

    with the number n of visits and their mean reward r̄, so that a lifetime costs S·A terms, however long it is.

    Args:
        observation_space: of the task family.
        action_space: of the task family.
        latent: L, size of m.
        states: decode transitions; otherwise Eₛ = 0.
        hidden: units of each hidden layer of r̂ and of ŝ.
        activation: of their hidden layers.
        read: `input`, r̂ is a network of its concatenated inputs; `observation`, a table, see
            `metarl_run.network.read`.
        read_width: numbers of m read in a state, by the observation.
        read_units: of the layer between these and the rewards.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    latent: Count
    states: bool
    hidden: Widths
    activation: Literal["tanh", "relu"]
    read: Literal["input", "observation"] = field(default="input")
    read_width: Count = field(default=16)
    read_units: Count = field(default=64)

    def __post_init__(self) -> None:
        super().__post_init__()
        D, A = observation_size(self.observation_space), action_size(self.action_space)
        sizes = {"reward": (D + A + D + 1, 1), "state": (D + A, D)}
        self.networks = {
            name: MLP(
                num_inputs=self.latent + features,
                heads={name: outputs},
                hidden=self.hidden,
                activation=self.activation,
            )
            for name, (features, outputs) in sizes.items()
            if (self.read == "input" if name == "reward" else self.states)
        }
        self.table = None
        if self.read == "observation":
            self.table = StateRead(
                num_states=D,
                num_inputs=D,
                hidden=self.latent,
                heads={"reward": A},
                width=self.read_width,
                units=self.read_units,
            )

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters."""
        params: Params = {}
        for network in self.networks.values():
            params |= with_large_heads(network.init(generator), network.head_names())
        return params | with_large_heads(self.table.init(generator), ["reward.weight"]) if self.table else params

    def errors(
        self, params: Params, m: Float[Tensor, "K N L"], lifetimes: Rollout
    ) -> tuple[Float[Tensor, "K N"], Float[Tensor, "K N"]]:
        """Eᵣ and Eₛ for K descriptions of each of N tasks.

        Args:
            params: of r̂ and ŝ.
            m: K descriptions of each task.
            lifetimes: `[T, N, …]`, one in each task.
        """
        s, after, alive = lifetimes.observation[:-1], lifetimes.observation[1:], lifetimes.alive
        ended = lifetimes.ended.unsqueeze(-1)
        known = torch.cat([s, action_features(lifetimes.action, self.action_space).to(s.dtype)], -1)
        if self.table:
            reward_error = self.table_error(params, m, lifetimes)
        else:
            arrived = torch.cat([after.masked_fill(ended, 0.0), ended.to(s.dtype)], -1)
            reward = self.predicted("reward", params, m, torch.cat([known, arrived], -1)).squeeze(-1)
            reward_error = 0.5 * ((reward - lifetimes.reward) ** 2 * alive).sum(1)
        if "state" not in self.networks:
            return reward_error, torch.zeros_like(reward_error)
        state = self.predicted("state", params, m, known)
        return reward_error, 0.5 * (((state - after) ** 2).sum(-1) * (alive & ~lifetimes.ended)).sum(1)

    def rewards(self, params: Params, m: Float[Tensor, "K N L"]) -> Float[Tensor, "K N S A"]:
        """R̂(m) of every pair, if it is a table."""
        assert self.table is not None
        K, N, _ = m.shape
        rewards = self.table.everywhere(params, m.reshape(K * N, -1))["reward"]
        return rewards.view(K, N, *rewards.shape[1:])

    def table_error(self, params: Params, m: Float[Tensor, "K N L"], lifetimes: Rollout) -> Float[Tensor, "K N"]:
        """Eᵣ of a table."""
        R = self.rewards(params, m)
        S, A = R.shape[-2:]
        pair = lifetimes.observation[:-1].argmax(-1) * A + lifetimes.action
        alive = lifetimes.alive.to(R.dtype)
        sums = R.new_zeros(2, lifetimes.reward.shape[1], S * A)
        count, total = (sums[i].scatter_add_(1, pair.mT, x.mT) for i, x in enumerate((alive, lifetimes.reward * alive)))
        mean = total / count.clamp(min=1)
        within = ((lifetimes.reward - mean.gather(1, pair.mT).mT) ** 2 * alive).sum(0)
        return 0.5 * (((R.flatten(-2) - mean) ** 2 * count).sum(-1) + within)

    def predicted(
        self, name: str, params: Params, m: Float[Tensor, "K N L"], known: Float[Tensor, "T N F"]
    ) -> Float[Tensor, "K T N O"]:
        """r̂ or ŝ for each of K descriptions at each of T steps."""
        network = self.networks[name]
        layers = range(len(network.widths[name]) - 1)
        θ = [params[f"{name}.{layer}.{part}"] for layer in layers for part in ("weight", "bias")]

        def predicted(m: Float[Tensor, "_ N L"], known: Float[Tensor, "T N F"], *θ: Tensor) -> tuple[Tensor]:
            # The first layer is split between m and the rest, so that each part is multiplied once, not once per pair.
            x = matmul(m, θ[0][: self.latent]).unsqueeze(1) + (matmul(known, θ[0][self.latent :]) + θ[1])
            for weight, bias in zip(θ[2::2], θ[3::2], strict=True):
                x = linear(network.activation(x), weight, bias)
            return (x,)

        one = known[..., 0].numel() * max(self.hidden, default=1)
        size = max(CACHED // one, 1) if m.device.type == "cpu" else len(m)
        return by_rows(predicted, size, m, [known, *θ])[0]
