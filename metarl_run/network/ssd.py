"""A state-space network whose memory decays as the input tells: whole sequences in one pass, or step by step."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm, softplus

from metarl_run.kinds import Count, MultipleOf
from metarl_run.network.by_rows import by_rows
from metarl_run.network.mlp import LAST_LAYER_SCALE
from metarl_run.network.reading import Reading
from metarl_run.types import Memory, Params

CHUNK = 64
"""Steps of a sequence that are related pair by pair; from one chunk to the next goes the memory."""

CACHED = 2**19
"""Elements of y of a whole sequence of a few lifetimes, for each thread; with a quarter, one thread takes 1.15 times as
long."""

SHORTEST, LONGEST = 1, 100
"""Steps that a fresh memory lasts: one end for the first of a block's P memories, the other for the last."""


class SSD(Reading):
    """Blocks of P memories each, matrices S that decay and are written to and read from by what the input selects.

        (q, k, v, i_d, g) = norm(y) W,        d = softplus(i_d + b_d),        a = exp(−d A)
        Sₜ = aₜ Sₜ₋₁ + dₜ kₜᵀ vₜ,        zₜ = qₜ Sₜ,        y ← y + (norm(z) ⊙ silu(g)) U

    q, k and v belong to each of the P memories, a and d are numbers of each. Written out, zₜ = Σ_{s ≤ t} (qₜ · kₛ)
    exp(−A Σ_{s < r ≤ t} dᵣ) dₛ vₛ: within a chunk of steps that is one product with a matrix of pairs, whose every
    exponent is at most 0, so nothing overflows; between chunks the memory carries over. Acting takes a step of the
    recurrence: the memory has one size, however long the lifetime is.

    Weights start uniform in ±√(6 / (in + out)), those of the branches √layers times smaller, of the heads 100 times;
    A and b_d such that fresh memories last from 1 to 100 steps.

    Args:
        hidden: H, width of y.
        layers: number of blocks.
        memories: P, in each block.
        key: entries of q and k.
        read: of the heads, which read y, see `metarl_run.network.reading`.

    Differs from the paper: no convolution before q, k and v, whose part residual layers of a lifetime's step-wise
    input do not need; q and k of each memory are its own; layer norm, not RMS norm.
    Source: Dao and Gu (2024), "Transformers are SSMs" (Mamba-2), arXiv:2405.21060, section 6; Gu and Dao (2023),
    arXiv:2312.00752, section 3.6 for initial decays.
    """

    hidden: Annotated[Count, MultipleOf("memories")]
    layers: Count
    memories: Count
    key: Count

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"parameters": ("layers", "hidden", "hidden")}

    def __post_init__(self) -> None:
        super().__post_init__()
        H, P, E = self.hidden, self.memories, self.key
        self.widths = [P * E, P * E, H, P, H]  # q, k, v, d and g

    def init(self, generator: torch.Generator) -> Params:
        D, H, P, device = self.num_inputs, self.hidden, self.memories, generator.device

        def uniform(fan_in: int, fan_out: int, scale: float = 1.0) -> Tensor:
            bound = (6 / (fan_in + fan_out)) ** 0.5 * scale
            return torch.empty(fan_in, fan_out, device=device).uniform_(-bound, bound, generator=generator)

        def fresh_norm(name: str) -> Params:
            return {f"{name}.weight": torch.ones(H, device=device), f"{name}.bias": torch.zeros(H, device=device)}

        params = {"input.weight": uniform(D, H), "input.bias": torch.zeros(1, H, device=device)}
        lasts = torch.logspace(0, 1, P, base=LONGEST / SHORTEST, device=device) * SHORTEST
        for layer in range(self.layers):
            params |= fresh_norm(f"{layer}.norm")
            params[f"{layer}.weight"] = torch.cat([uniform(H, width) for width in self.widths], -1)
            params[f"{layer}.log_decay"] = -lasts.log().unsqueeze(0)  # log A; d is about 1
            params[f"{layer}.step"] = torch.full((1, P), 0.5413, device=device)  # softplus of it is 1
            params |= fresh_norm(f"{layer}.read.norm")
            params[f"{layer}.read.weight"] = uniform(H, H, self.layers**-0.5)
        params |= fresh_norm("norm")
        if self.reader:
            return params | self.reader.init(generator)
        for head, outputs in self.heads.items():
            params[f"{head}.weight"] = uniform(H, outputs, LAST_LAYER_SCALE)
            params[f"{head}.bias"] = torch.zeros(1, outputs, device=device)
        return params

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        size = self.key * self.hidden  # P matrices of E × H / P
        return {f"{layer}.S": params["input.weight"].new_zeros(num_tasks, 1, size) for layer in range(self.layers)}

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        M, B, D = x.shape
        before = {name: S.expand(M, B, -1).reshape(M * B, -1) for name, S in memory.items()}
        output, now = self._read(params, x.reshape(1, M * B, D), before)
        return {head: value.view(M, B, -1) for head, value in output.items()}, {
            name: S.view(M, B, -1) for name, S in now.items()
        }

    def sequence(self, params: Params, x: Float[Tensor, "T N D"]) -> Mapping[str, Tensor]:
        def read(x: Float[Tensor, "N T D"], *θ: Tensor) -> tuple[Tensor, ...]:
            weights = dict(zip(params, θ, strict=True))
            memory = {name: S[:, 0].expand(len(x), -1) for name, S in self.initial_memory(params, 1).items()}
            outputs = []
            for part in torch.split(x.transpose(0, 1), CHUNK):
                output, memory = self._read(weights, part, memory)
                outputs.append(output)
            return tuple(torch.cat([output[head] for output in outputs]).transpose(0, 1) for head in self.heads)

        size = CACHED // (len(x) * self.hidden) if x.device.type == "cpu" else x.shape[1]
        values = by_rows(read, max(size, 1), x.transpose(0, 1), list(params.values()))
        return {head: value.transpose(0, 1) for head, value in zip(self.heads, values, strict=True)}

    def _read(self, params: Params, x: Float[Tensor, "L N D"], memory: Memory) -> tuple[dict[str, Tensor], Memory]:
        """The heads at L further steps, and the memories after the last."""
        y = affine(x, params["input.weight"], params["input.bias"])
        now: Memory = {}
        for layer in range(self.layers):
            parts = norm(params, f"{layer}.norm", y).flatten(0, 1) @ params[f"{layer}.weight"]
            q, k, v, i_d, g = torch.split(parts.view(*y.shape[:-1], -1), self.widths, -1)
            d = softplus(i_d + params[f"{layer}.step"])
            decay = d * params[f"{layer}.log_decay"].exp()
            name = f"{layer}.S"
            z, now[name] = self._recur(q, k, v, d, decay, memory[name])
            z = norm(params, f"{layer}.read.norm", z) * torch.nn.functional.silu(g)
            y = y + affine(z, params[f"{layer}.read.weight"])
        y = norm(params, "norm", y)
        if self.reader:
            return self.reader(params, y, x), now
        return {head: affine(y, params[f"{head}.weight"], params[f"{head}.bias"]) for head in self.heads}, now

    def _recur(
        self, q: Tensor, k: Tensor, v: Tensor, d: Tensor, decay: Tensor, before: Tensor
    ) -> tuple[Float[Tensor, "L N H"], Tensor]:
        """z of L steps and S after the last, from S before the first."""
        L, N, H = v.shape
        q, k, v = (x.view(L, N, self.memories, -1).permute(1, 2, 0, 3) for x in (q, k, v))  # [N, P, L, _]
        d, elapsed = (x.permute(1, 2, 0) for x in (d, decay.cumsum(0)))  # [N, P, L]
        S = before.view(N, self.memories, self.key, -1)
        v = v * d.unsqueeze(-1)
        carried = (q * elapsed.neg().exp().unsqueeze(-1)) @ S
        left = elapsed[..., -1:]
        after = (k * (elapsed - left).exp().unsqueeze(-1)).mT @ v + left.neg().exp().unsqueeze(-1) * S
        if L == 1:
            z = carried + (q * k).sum(-1, keepdim=True) * v
        else:
            gap = elapsed.unsqueeze(-2) - elapsed.unsqueeze(-1)  # of s less of t: at most 0 where s ≤ t
            later = torch.ones(L, L, dtype=torch.bool, device=v.device).triu(1)
            z = carried + (q @ k.mT * gap.masked_fill(later, -torch.inf).exp()) @ v
        return z.permute(2, 0, 1, 3).reshape(L, N, H), after.reshape(N, -1)


def affine(x: Float[Tensor, "L N D"], weight: Tensor, bias: Tensor | None = None) -> Float[Tensor, "L N E"]:
    rows = x.flatten(0, 1)
    y = rows @ weight if bias is None else torch.addmm(bias, rows, weight)
    return y.view(*x.shape[:-1], -1)


def norm(params: Params, name: str, x: Tensor) -> Tensor:
    return layer_norm(x, x.shape[-1:], params[f"{name}.weight"], params[f"{name}.bias"])
