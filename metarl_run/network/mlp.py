"""Fully connected networks."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from metarl_run.component import field
from metarl_run.kinds import Widths
from metarl_run.network.affine import affine
from metarl_run.network.base import Network
from metarl_run.network.tanh_network import tanh_network
from metarl_run.types import Memory, Params

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}
ORTHOGONAL_GAIN = 2**0.5  # of hidden layers; Engstrom et al. 2020, arXiv:2005.12729
LAST_LAYER_SCALE = 0.01  # policies start nearly uniform and explore; Andrychowicz et al. 2021, arXiv:2006.05990


class MLP(Network):
    """Layers x ← σ(x W + b), a separate trunk for each head, the last layer linear.

    Weights start uniform in ±√(6 / (in + out)), or orthogonal times √2; the last layer's 100 times smaller. Biases
    start at 0.

    Args:
        hidden: units of each hidden layer.
        activation: σ of the hidden layers.
        initial_weights: `glorot` is the uniform distribution.

    Source: Glorot and Bengio (2010), for the uniform distribution; Saxe et al. (2014), arXiv:1312.6120, for orthogonal
    weights.
    """

    hidden: Widths
    activation_name: Literal["tanh", "relu"] = field(alias="activation")
    initial_weights: Literal["glorot", "orthogonal"] = field(default="glorot")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.activation = ACTIVATIONS[self.activation_name]
        self.widths = {head: [self.num_inputs, *self.hidden, outputs] for head, outputs in self.heads.items()}
        self.heads_apart = False

    def init(self, generator: torch.Generator) -> Params:
        params = {}
        for head, widths in self.widths.items():
            last = len(widths) - 2
            for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
                scale = LAST_LAYER_SCALE if layer == last else 1.0
                weight = torch.empty(fan_in, fan_out, device=generator.device)
                if self.initial_weights == "orthogonal":
                    torch.nn.init.orthogonal_(weight, ORTHOGONAL_GAIN * scale, generator=generator)
                else:
                    bound = (6 / (fan_in + fan_out)) ** 0.5 * scale
                    weight.uniform_(-bound, bound, generator=generator)
                params[f"{head}.{layer}.weight"] = weight
                params[f"{head}.{layer}.bias"] = torch.zeros(1, fan_out, device=generator.device)
        return params

    def head_names(self) -> frozenset[str]:
        last = {head: len(widths) - 2 for head, widths in self.widths.items()}
        return frozenset(f"{head}.{layer}.{part}" for head, layer in last.items() for part in ("weight", "bias"))

    def keep_heads_apart(self) -> None:
        self.heads_apart = True

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        task_axes = next(iter(params.values())).dim() - 2
        rows = x.flatten(task_axes, -2)  # [M, N, D] for a stack, [N, D] for one agent
        return {head: self._trunk(head, params, rows).view(*x.shape[:-1], -1) for head in self.widths}, memory

    def _trunk(self, head: str, params: Params, x: Tensor) -> Tensor:
        layers = range(len(self.widths[head]) - 1)
        biases, weights = ([params[f"{head}.{layer}.{part}"] for layer in layers] for part in ("bias", "weight"))
        if self.activation is torch.tanh and not self.heads_apart:
            return tanh_network(x, biases, weights, linear=True)
        if self.activation is torch.tanh and len(weights) > 1:
            return affine(biases[-1], tanh_network(x, biases[:-1], weights[:-1], linear=False), weights[-1])
        for b, W in zip(biases[:-1], weights[:-1], strict=True):
            x = self.activation(affine(b, x, W))
        return affine(biases[-1], x, weights[-1])
