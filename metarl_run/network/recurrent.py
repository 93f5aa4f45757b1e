"""Common part of recurrent networks: one trunk with memory, linear heads, one step or a whole sequence."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.maths.parallel import divisible, in_parallel
from metarl_run.network.affine import affine
from metarl_run.network.mlp import LAST_LAYER_SCALE
from metarl_run.network.product import addmm
from metarl_run.network.reading import Reading
from metarl_run.types import Memory, Params

COLUMNS = 16
"""Products whose columns are no multiple of this take 1.07 times as long (MKL on an AMD EPYC, 768 and 6)."""

ROWS = 16
"""Rows of a product that are computed together, or a multiple (at most 14 in kernels for AVX-512)."""

CACHED = 2**15
"""Elements of one tensor at one step: the dozen tensors of a step then fit into a core's L2 cache."""

STEPPED = 2**16
"""Elements of the memory that one thread steps at a time; with half as many, one thread takes 1.05 times as long."""


class Recurrent(Reading):
    """A cell of H units that reads its input through gates, and linear heads on its hidden state and on the input.

        gₜ = xₜ W + b,        hₜ = cell(gₜ, hₜ₋₁),        headₜ = hₜ W_head + xₜ V_head + b_head

    V is a shortcut past the memory for features of the current input.

    W starts uniform in ±√(6 / (D + H)), the matrices of the memory orthogonal, the heads like those of `MLP`, biases
    and V at 0.

    Args:
        hidden: H, units of the memory.
        read: of the heads: `linear` as above, or otherwise, see `metarl_run.network.reading`.

    Attributes:
        gates: number of blocks of H units in g.

    Source: Saxe et al. (2014), arXiv:1312.6120, for orthogonal initial matrices.
    """

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"parameters": ("hidden", "hidden")}
    linear: ClassVar[tuple[str, ...]] = ("weight", "shortcut", "bias")
    gates: ClassVar[int]

    def init(self, generator: torch.Generator) -> Params:
        D, H, device = self.num_inputs, self.hidden, generator.device
        bound = (6 / (D + H)) ** 0.5
        weight = torch.empty(D, self.gates * H, device=device).uniform_(-bound, bound, generator=generator)
        params = {
            "input.weight": weight,
            "input.bias": torch.zeros(1, self.gates * H, device=device),
            "memory.weight": torch.cat([orthogonal(H, generator) for _ in range(self.gates)], -1),
        }
        return params | self._fresh_heads(generator)

    def _fresh_heads(self, generator: torch.Generator) -> Params:
        if self.reader:
            return self.reader.init(generator)
        D, H, device = self.num_inputs, self.hidden, generator.device
        params: Params = {}
        for head, outputs in self.heads.items():
            bound = (6 / (H + outputs)) ** 0.5 * LAST_LAYER_SCALE
            weight = torch.empty(H, outputs, device=device).uniform_(-bound, bound, generator=generator)
            params |= {
                f"{head}.weight": weight,
                f"{head}.shortcut": torch.zeros(D, outputs, device=device),
                f"{head}.bias": torch.zeros(1, outputs, device=device),
            }
        return params

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        M, B, _ = x.shape

        def after(x: Float[Tensor, "N D"], *old: Float[Tensor, "N H"]) -> tuple[Tensor, ...]:
            g = addmm(params["input.bias"], x, params["input.weight"])
            state = self.step(params, g, dict(zip(memory, old, strict=True)))
            return *self._heads(params, state["h"], x).values(), *state.values()

        inputs = [x.reshape(M * B, -1), *(tensor.expand(M, B, -1).reshape(M * B, -1) for tensor in memory.values())]
        size = in_groups(STEPPED // self.hidden) if divisible(x) else M * B
        of_rows = in_parallel(after, zip(*(torch.split(rows, size) for rows in inputs), strict=True))
        found = [torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*of_rows, strict=True)]
        found = [tensor.view(M, B, -1) for tensor in found]
        return dict(zip(self.heads, found, strict=False)), dict(zip(memory, found[len(self.heads) :], strict=True))

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        if self.reader:
            return self.reader(params, self.memories(params, x), x)
        V, b, W_head = (
            torch.cat([params[f"{head}.{part}"] for head in self.heads], -1) for part in ("shortcut", "bias", "weight")
        )
        # b is one more row of W: added to such a large product, it would be copied to all rows first, and summed later.
        W = torch.cat([V, params["input.weight"]], -1), torch.cat([b, params["input.bias"]], -1)
        filled = -W_head.shape[-1] % COLUMNS
        W_head, W_all = (pad(weight, (filled, 0)) for weight in (W_head, torch.cat(W)))
        out = self.scan(params, pad(x, (0, 1), value=1.0), W_all, W_head)
        _, *outputs = torch.split(out, [filled, *self.heads.values()], -1)
        return dict(zip(self.heads, outputs, strict=True))

    def memories(self, params: Params, x: Float[Tensor, "T N D"]) -> Float[Tensor, "T N H"]:
        """h after each of T steps from the initial memory."""
        W, b = (pad(params[f"input.{part}"], (self.hidden, 0)) for part in ("weight", "bias"))
        return self.scan(params, pad(x, (0, 1), value=1.0), torch.cat([W, b]), torch.eye(self.hidden).to(x))

    def _heads(self, params: Params, h: Tensor, x: Tensor) -> dict[str, Tensor]:
        if self.reader:
            return self.reader(params, h, x)
        return {
            head: affine(affine(params[f"{head}.bias"], x, params[f"{head}.shortcut"]), h, params[f"{head}.weight"])
            for head in self.heads
        }

    @abstractmethod
    def step(self, params: Params, g: Float[Tensor, "N GH"], state: Memory) -> Memory:
        """The next memory, `[N, H]` each; the heads read its entry `h`."""

    @abstractmethod
    def scan(
        self, params: Params, x: Float[Tensor, "T N D"], W: Float[Tensor, "D PGH"], W_head: Float[Tensor, "H P"]
    ) -> Float[Tensor, "T N P"]:
        """All heads after each of T steps from the initial memory, with (xₜ V_head, gₜ) = xₜ W.

        They are a few more columns of two products that the memory needs anyway, computed while h is in the cache.
        """


# --- Derivatives through time ---

Weights = tuple[Tensor, ...]
"""The terms of a few lifetimes in the derivatives by all weights."""


def blocks(width: int, *tensors: Float[Tensor, "T N _"]) -> Iterator[tuple[Tensor, ...]]:
    """The same few lifetimes of each tensor at a time, so few that intermediate results stay in the cache.

    So many that fill the cache are two blocks, for two threads: one thread takes 1.05 times as long.
    """
    size = N = tensors[0].shape[1]
    if tensors[0].device.type == "cpu" and (most := max(CACHED // width, 1)) <= N:
        size = in_groups(-(-N // max(-(-N // most), 2)))
    return zip(*(torch.split(tensor, size, 1) for tensor in tensors), strict=True)


def in_groups(rows: int) -> int:
    """So many rows, or a few more: the last ones of products, which come in groups, may be rounded otherwise."""
    return -(-max(rows, 1) // ROWS) * ROWS


def steps(*tensors: Float[Tensor, "T _ _"]) -> Iterator[tuple[Tensor, ...]]:
    """Views of each tensor, step by step."""
    return zip(*(tensor.unbind(0) for tensor in tensors), strict=True)


def through_sigmoid(d: Tensor, σ: Tensor, *, out: Tensor) -> Tensor:
    """d σ (1 − σ)."""
    torch.ops.aten.sigmoid_backward.grad_input(d, σ, grad_input=out)
    return out


def through_tanh(d: Tensor, τ: Tensor, *, out: Tensor) -> Tensor:
    """d (1 − τ²)."""
    torch.ops.aten.tanh_backward.grad_input(d, τ, grad_input=out)
    return out


def orthogonal(size: int, generator: torch.Generator) -> Tensor:
    """A uniformly random orthogonal matrix.

    Source: Mezzadri (2007), arXiv:math-ph/0609050.
    """
    normal = torch.randn(size, size, generator=generator, device=generator.device)
    q, r = torch.linalg.qr(normal)
    return torch.mul(q, r.diagonal().sign())
