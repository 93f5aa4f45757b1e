"""Causal transformers, whose memory keeps the whole lifetime."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from metarl_run.component import field
from metarl_run.kinds import Count, MultipleOfTwice
from metarl_run.maths.parallel import divisible, in_parallel
from metarl_run.network.by_rows import by_rows
from metarl_run.network.mlp import LAST_LAYER_SCALE
from metarl_run.network.product import addmm, matmul
from metarl_run.network.reading import Reading
from metarl_run.types import Memory, Params

LONGEST_WAVE = 10_000  # of the positions, in steps over 2π; as in the first source

CACHED = 2**19
"""Elements of one activation at a time, for each thread: whole sequences take 1.04 times as long on one, half as many
elements 1.05 times."""

STEPPED = 2**20
"""Elements of the keys that one thread reads at a time."""


class Transformer(Reading):
    """Blocks of attention over the lifetime so far, then linear heads.

        yₜ = xₜ W + b + p(t)
        y ← y + attention(norm(y)),        y ← y + relu(norm(y) W₁ + b₁) W₂ + b₂        in each block
        headₜ = norm(yₜ) W_head + b_head

    Attention at step t reads the steps up to t, and their keys and values are the memory. The positional encoding p(t)
    is defined for every t, so a lifetime may have any length.

    With a `context` of L steps, attention at step t reads the latest L, t among them, and the memory holds the L − 1
    before the next. Positions are then relative: there is no p(t), and queries and keys are rotated by an angle that
    grows with their step, so that their product depends on the distance alone.

    Weights start uniform in ±√(6 / (in + out)), those that end a residual branch divided by √(2 · blocks), the heads
    like those of `MLP`; biases start at 0.

    Args:
        hidden: H, width of y, a multiple of twice the attention heads.
        layers: blocks.
        attention_heads: per block, each of width H / attention_heads.
        feed_forward: width of a block's hidden layer.
        positions: p, `waves` of growing length (rotations with a `context`), or `none`, p(t) = 0: attention then weighs
            what was seen by its content alone. Waves are larger than fresh embeddings of small inputs, which therefore
            take long to matter.
        read: of the heads, which read norm(y), see `metarl_run.network.reading`.
        context: L ≥ 1, steps that attention reads; None reads the whole lifetime.

    Differs from the papers: as the memory of RL² it resembles TrMRL (Melo 2022, arXiv:2206.06614), but it reads the
    whole lifetime instead of the latest few steps, and normalises before each branch instead of relying on an
    initialisation that needs no norm.
    Source: Vaswani et al. (2017), arXiv:1706.03762; Radford et al. (2019), "Language Models
    are Unsupervised Multitask Learners", for the place of the norm and the scale of the branches;
    Kazemnejad et al. (2023), arXiv:2305.19466, for none of the positions; Su et al. (2021), arXiv:2104.09864, for
    rotations.
    """

    hidden: Annotated[Count, MultipleOfTwice("attention_heads")]
    layers: Count
    attention_heads: Count
    feed_forward: Count
    positions: Literal["waves", "none"] = field(default="waves")
    context: Count | None = field(default=None)

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"parameters": ("layers", "hidden", "hidden")}

    def init(self, generator: torch.Generator) -> Params:
        D, H, F, device = self.num_inputs, self.hidden, self.feed_forward, generator.device

        def uniform(fan_in: int, fan_out: int, scale: float) -> Tensor:
            bound = (6 / (fan_in + fan_out)) ** 0.5 * scale
            return torch.empty(fan_in, fan_out, device=device).uniform_(-bound, bound, generator=generator)

        def fresh(name: str, fan_in: int, fan_out: int, scale: float = 1.0) -> Params:
            weight, bias = uniform(fan_in, fan_out, scale), torch.zeros(1, fan_out, device=device)
            return {f"{name}.weight": weight, f"{name}.bias": bias}

        def fresh_norm(name: str) -> Params:
            return {f"{name}.weight": torch.ones(H, device=device), f"{name}.bias": torch.zeros(H, device=device)}

        branch = (2 * self.layers) ** -0.5
        params = fresh("input", D, H)
        for layer in range(self.layers):
            params |= fresh_norm(f"{layer}.look.norm")
            params[f"{layer}.look.weight"] = torch.cat([uniform(H, H, 1.0) for _ in "qkv"], -1)
            params |= fresh(f"{layer}.seen", H, H, branch)
            params |= fresh_norm(f"{layer}.wide.norm")
            params |= fresh(f"{layer}.wide", H, F)
            params |= fresh(f"{layer}.narrow", F, H, branch)
        params |= fresh_norm("norm")
        if self.reader:
            return params | self.reader.init(generator)
        for head, outputs in self.heads.items():
            params |= fresh(head, H, outputs, LAST_LAYER_SCALE)
        return params

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        nothing = params["input.weight"].new_zeros(num_tasks, 1, 0, self.hidden)
        return {f"{layer}.{part}": nothing for layer in range(self.layers) for part in ("keys", "values")}

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        M, B, D = x.shape
        past = {name: tensor.expand(M, B, -1, -1).flatten(0, 1) for name, tensor in memory.items()}
        t, x = past["0.keys"].shape[1], x.reshape(M * B, 1, D)
        size = max(STEPPED // ((t + 1) * self.hidden), 1)
        if size >= M * B or self.context is not None or not divisible(x):
            output, now = self._read(params, x, past)
        else:
            now = {name: x.new_empty(M * B, t + 1, self.hidden) for name in past}

            def read(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
                old, new = tensors[: len(past)], tensors[len(past) :]
                output, _ = self._read(params, x, dict(zip(past, old, strict=True)), dict(zip(past, new, strict=True)))
                return tuple(output.values())

            tensors = (torch.split(tensor, size) for tensor in (x, *past.values(), *now.values()))
            values = map(torch.cat, zip(*in_parallel(read, zip(*tensors, strict=True)), strict=True))
            output = dict(zip(self.heads, values, strict=True))
        memory = {name: tensor.view(M, B, -1, self.hidden) for name, tensor in now.items()}
        return {head: value.view(M, B, -1) for head, value in output.items()}, memory

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        def read(x: Float[Tensor, "N T D"], *θ: Tensor) -> tuple[Tensor, ...]:
            past = {name: tensor.flatten(0, 1) for name, tensor in self.initial_memory(params, len(x)).items()}
            output, _ = self._read(dict(zip(params, θ, strict=True)), x, past)
            return tuple(output.values())

        size = CACHED // (len(x) * self.feed_forward) if x.device.type == "cpu" else x.shape[1]
        values = by_rows(read, max(size, 1), x.transpose(0, 1), list(params.values()))
        return {head: value.transpose(0, 1) for head, value in zip(self.heads, values, strict=True)}

    def _read(
        self, params: Params, x: Float[Tensor, "N L D"], past: Memory, into: Memory | None = None
    ) -> tuple[dict[str, Tensor], Memory]:
        """The heads at L further steps, and keys and values `[N, t + L, H]` afterwards. L is 1 unless t is 0."""
        into = into or {}
        t, L = past["0.keys"].shape[1], x.shape[1]
        y = affine(params, "input", x)
        seen_from, mask, turn = None, None, None
        if self.context is not None:
            seen_from = max(t + L + 1 - self.context, 0)
            mask = banded(L, self.context, x) if self.context < L else None
        if self.positions == "waves" and self.context is None:
            y = y + positions(t, t + L, self.hidden, x)
        elif self.positions == "waves":
            turn = rotation(t + L, self.hidden // self.attention_heads, x)
        now: Memory = {}
        for layer in range(self.layers):
            q, k, v = matmul(norm(params, f"{layer}.look.norm", y), params[f"{layer}.look.weight"]).chunk(3, -1)
            keys, values = f"{layer}.keys", f"{layer}.values"
            k, v = (torch.cat([past[of], new], 1, out=into.get(of)) for of, new in ((keys, k), (values, v)))
            now |= {keys: k[:, seen_from:], values: v[:, seen_from:]}
            q, k, v = self._apart(q), self._apart(k), self._apart(v)
            if turn is not None:
                q, k = rotated(q, *(part[t:] for part in turn)), rotated(k, *turn)
            causal = t == 0 and mask is None  # a single step may attend to all before it
            seen = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
            y = y + affine(params, f"{layer}.seen", seen.transpose(1, 2).flatten(2))
            wide = affine(params, f"{layer}.wide", norm(params, f"{layer}.wide.norm", y)).relu()
            y = y + affine(params, f"{layer}.narrow", wide)
        y = norm(params, "norm", y)
        if self.reader:
            return self.reader(params, y, x), now
        return {head: affine(params, head, y) for head in self.heads}, now

    def _apart(self, z: Float[Tensor, "N L H"]) -> Float[Tensor, "N heads L width"]:
        """The attention heads side by side."""
        return z.view(*z.shape[:2], self.attention_heads, -1).transpose(1, 2)


def affine(params: Params, name: str, x: Float[Tensor, "N L D"]) -> Float[Tensor, "N L E"]:
    y = addmm(params[f"{name}.bias"], x.flatten(0, 1), params[f"{name}.weight"])
    return y.view(*x.shape[:-1], -1)


def norm(params: Params, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], params[f"{name}.weight"], params[f"{name}.bias"])


def positions(first: int, end: int, width: int, like: Tensor) -> Float[Tensor, "L H"]:
    """sin(t ωᵢ) and cos(t ωᵢ) with ωᵢ = 10000^(−2 i / H) for t in [first, end) and i in [0, H / 2)."""
    t = torch.arange(first, end, dtype=like.dtype, device=like.device)
    ω = LONGEST_WAVE ** (torch.arange(0, width, 2, dtype=like.dtype, device=like.device) / -width)
    angle = torch.outer(t, ω)
    return torch.cat([angle.sin(), angle.cos()], -1)


def rotation(steps: int, width: int, like: Tensor) -> tuple[Float[Tensor, "L W"], Float[Tensor, "L W"]]:
    """cos(t ωᵢ) and sin(t ωᵢ) for t in [0, steps), each twice over, with ωᵢ = 10000^(−2 i / width)."""
    sin, cos = positions(0, steps, width, like).chunk(2, -1)
    return cos.repeat(1, 2), sin.repeat(1, 2)


def rotated(z: Float[Tensor, "N heads L W"], cos: Tensor, sin: Tensor) -> Float[Tensor, "N heads L W"]:
    """Each pair (zᵢ, zᵢ₊w) of the two halves of z, turned by the angle t ωᵢ."""
    left, right = z.chunk(2, -1)
    return z * cos + torch.cat([-right, left], -1) * sin


def banded(steps: int, context: int, like: Tensor) -> Tensor:
    """Whether step t, a row, may read step s, a column: the latest `context` of the steps up to t."""
    t = torch.arange(steps, device=like.device)
    distance = t.unsqueeze(-1) - t
    return (distance >= 0) & (distance < context)
