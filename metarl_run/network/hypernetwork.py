"""Heads that are a network of the current observation, whose parameters depend on the memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.maths.parallel import traced
from metarl_run.network.by_rows import by_rows
from metarl_run.network.mlp import LAST_LAYER_SCALE
from metarl_run.types import Params

MEMORY = "read.memory"

CACHED = 2**20
"""Generated parameters at a time, for each thread."""


@dataclass(frozen=True, kw_only=True)
class Hypernetwork:
    """A base network of the observation s, whose parameters θ a linear hypernetwork generates from the memory h.

        θ(h) = θ₀ + h Φ,        u = relu(s A + a),        head = u W_head + b_head        with (A, a, W, b) = θ(h)

    Φ starts at 0 and θ₀ as the base network alone would: A and W uniform in ±√(6 / (in + out)), W 100 times smaller,
    biases at 0. So the agent starts as that network whatever it remembers ("Bias-HyperInit"), instead of with
    parameters that are sums over the memory and of no useful scale.

    Args:
        num_observed: S, features of the observation, the first ones of the input x.
        hidden: H, units of the memory.
        heads: outputs of each head.
        units: U, of the base network's hidden layer.

    Differs from the paper: all heads are generated, the critic's too; they share the base network's hidden layer.
    Source: Beck et al. (2022), "Hypernetworks in Meta-Reinforcement Learning", arXiv:2210.11348, section 3.
    """

    num_observed: int
    hidden: int
    heads: Mapping[str, int]
    units: int

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters: θ₀ by its names, and Φ."""

        def uniform(rows: int, columns: int, scale: float = 1.0) -> Tensor:
            bound = (6 / (rows + columns)) ** 0.5 * scale
            return torch.empty(rows, columns, device=generator.device).uniform_(-bound, bound, generator=generator)

        def zeros(rows: int, columns: int) -> Tensor:
            return torch.zeros(rows, columns, device=generator.device)

        θ = {"read.weight": uniform(self.num_observed, self.units), "read.bias": zeros(1, self.units)}
        for head, outputs in self.heads.items():
            θ |= {f"{head}.weight": uniform(self.units, outputs, LAST_LAYER_SCALE), f"{head}.bias": zeros(1, outputs)}
        return θ | {MEMORY: zeros(self.hidden, sum(part.numel() for part in θ.values()))}

    def __call__(
        self, params: Params, h: Float[Tensor, "... H"], x: Float[Tensor, "... D"]
    ) -> dict[str, Float[Tensor, "... outputs"]]:
        """The value of each head."""
        *names, _ = self.names()
        rows, s = h.flatten(0, -2), x.flatten(0, -2)[:, : self.num_observed]

        def value(both: Tensor, Φ: Tensor, *θ_0: Tensor) -> tuple[Tensor, ...]:
            rows, s = both.tensor_split([self.hidden], -1)
            generated = torch.addmm(torch.cat([part.reshape(1, -1) for part in θ_0], -1), rows, Φ)
            parts = torch.split(generated, [part.numel() for part in θ_0], -1)
            θ = {name: of.view(-1, *part.shape) for name, of, part in zip(names, parts, θ_0, strict=True)}
            u = torch.baddbmm(θ["read.bias"], s.unsqueeze(1), θ["read.weight"]).relu()
            heads = (torch.baddbmm(θ[f"{head}.bias"], u, θ[f"{head}.weight"]) for head in self.heads)
            return tuple(head.squeeze(1) for head in heads)

        many = x.device.type == "cpu" and not traced()
        size = max(CACHED // params[MEMORY].shape[1], 1) if many else len(rows)
        found = by_rows(value, size, torch.cat([rows, s], -1), [params[MEMORY], *(params[name] for name in names)])
        return {head: out.view(*x.shape[:-1], -1) for head, out in zip(self.heads, found, strict=True)}

    def names(self) -> list[str]:
        """Names of the parameters."""
        of_heads = [f"{head}.{part}" for head in self.heads for part in ("weight", "bias")]
        return ["read.weight", "read.bias", *of_heads, MEMORY]
