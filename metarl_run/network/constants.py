"""Networks with outputs that do not depend on the input."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.component import field
from metarl_run.network.base import Network
from metarl_run.types import Memory, Params


class WithConstants(Network):
    """A network with additional outputs that are parameters themselves: c(x) = c, initially 0.

    They serve Gaussian policies whose standard deviations do not depend on the observation.

    Args:
        network: the network; its outputs, memory and capabilities stay the same.
        constants: name and size of each additional output; its parameter is called `<name>.constant`.
    """

    network: Network
    constants: Mapping[str, int]
    num_inputs: int = field(init=False)
    heads: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_inputs, self.heads = self.network.num_inputs, {**self.network.heads, **self.constants}
        self.parameter = {name: f"{name}.constant" for name in self.constants}
        # Per instance, since each may wrap another kind of network.
        self.provides, self.requires = self.network.provides, self.network.requires  # type: ignore[misc]

    def init(self, generator: torch.Generator) -> Params:
        params = self.network.init(generator)
        for name, size in self.constants.items():
            params[self.parameter[name]] = torch.zeros(1, size, device=generator.device)
        return params

    def head_names(self) -> frozenset[str]:
        return self.network.head_names().union(self.parameter.values())

    def keep_heads_apart(self) -> None:
        self.network.keep_heads_apart()

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        output, memory = self.network(self._inner(params), x, memory)
        return {**output, **self._constant(params, x)}, memory

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        return self.network.initial_memory(self._inner(params), num_tasks)

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        return {**self.network.sequence(self._inner(params), x), **self._constant(params, x)}

    def _inner(self, params: Params) -> Params:
        own = self.parameter.values()
        return {name: φ for name, φ in params.items() if name not in own}

    def _constant(self, params: Params, x: Tensor) -> Mapping[str, Tensor]:
        return {name: everywhere(params[key], x) for name, key in self.parameter.items()}


def everywhere(constant: Tensor, x: Tensor) -> Tensor:
    """`constant`, `[1, C]` or `[M, 1, C]` for a stack of agents, for every row of `x`, `[…, D]`: a view `[…, C]`."""
    *tasks, _, size = constant.shape
    between = x.dim() - 1 - len(tasks)
    return constant.reshape(*tasks, *[1] * between, size).expand(*x.shape[:-1], size)
