"""Learned inner rule: a small recurrent network that modifies a hand-designed rule's steps coordinate-wise."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.gradient.inner_rule import InnerRule
from metarl_run.component import Component
from metarl_run.network.product import baddbmm, bmm
from metarl_run.types import Memory, Params

P = 10.0
"""p of the paper's preprocessing."""
DECAYS = (0.5, 0.9)
"""β of the momenta that the network reads, in addition to those in the hand-designed rule's memory."""
SMALL = 1e-8


class LearnedRule(Component):
    """A bounded change of a hand-designed rule's direction d, by the same network for every coordinate.

        h ← GRU_ψ(x, h),    (o₁, o₂) = h W + x V,    u = B^(tanh o₁) d + tanh(o₂) rms(d) ĝ

    ĝ = g / rms(g) is the gradient in units of its root mean square over the coordinates of the same parameter; the
    second term has the length of the hand-designed step. The network's input x consists of the gradient's logarithm and
    sign, ĝ, its momenta, and a one-hot index of the coordinate's parameter. W and V start at 0, so that the rule starts
    as the hand-designed one: u = d. For any ψ, |u| ≤ B |d| + rms(d) |ĝ|.

    Args:
        base: the hand-designed rule.
        names: names of the adapted parameters.
        hidden: H, units of h.
        bound: B > 1.

    Differs from the paper: the memory is one GRU of H units (there two layers of LSTM, 20 units each); x contains ĝ,
    momenta and the parameter index besides logarithm and sign; u is a bounded change of d.
    Source: Andrychowicz et al. (2016), arXiv:1606.04474, section 2.1; its appendix A for logarithm and sign; Metz et
    al. (2022), arXiv:2211.09760, for momenta in units of their root mean square.
    """

    base: InnerRule
    names: Sequence[str]
    hidden: int
    bound: float

    @property
    def num_inputs(self) -> int:
        """D, features of x."""
        return 3 + len(DECAYS) + len(self.names)

    def init(self, generator: torch.Generator) -> Params:
        """ψ, without a task axis."""
        D, H, device = self.num_inputs, self.hidden, generator.device

        def uniform(rows: int, columns: int, bound: float) -> Tensor:
            return torch.empty(rows, columns, device=device).uniform_(-bound, bound, generator=generator)

        return {
            "input.weight": uniform(D, 3 * H, math.sqrt(6 / (D + H))),
            "input.bias": torch.zeros(1, 3 * H, device=device),
            "memory.weight": uniform(H, 3 * H, math.sqrt(3 / H)),
            "memory.bias": torch.zeros(1, H, device=device),
            "output.weight": torch.zeros(H, 2, device=device),
            "output.shortcut": torch.zeros(D, 2, device=device),
        }

    def initial_memory(self, params: Params) -> Memory:
        """Memory before the first step."""
        M, N = len(next(iter(params.values()))), sum(φ[0].numel() for φ in params.values())
        g = next(iter(params.values()))
        momenta = {f"momentum.{β}": g.new_zeros(M, N) for β in DECAYS}
        return {**self.base.initial_memory(params), **momenta, "h": g.new_zeros(M, N, self.hidden)}

    def directions(self, ψ: Params, gradients: Params, memory: Memory) -> tuple[Params, Memory]:
        """u of every parameter, and the updated memory; `ψ` has a task axis."""
        proposed, memory = self.base.directions(gradients, memory)
        g, d = flat(gradients), flat(proposed)
        sizes = [gradient[0].numel() for gradient in gradients.values()]
        g_hat = g / rms(g, sizes).clamp(min=SMALL)
        momenta = {f"momentum.{β}": torch.lerp(g_hat, memory[f"momentum.{β}"], β) for β in DECAYS}
        x = torch.stack([*log_and_sign(g), g_hat, *momenta.values()], -1)
        x = torch.cat([x, self.kinds(sizes, g).expand(len(g), -1, -1)], -1)
        h = gru(ψ, x, memory["h"])
        o = bmm(h, ψ["output.weight"]) + bmm(x, ψ["output.shortcut"])
        u = self.bound ** o[..., 0].tanh() * d + o[..., 1].tanh() * rms(d, sizes) * g_hat
        return unflat(u, gradients), {**memory, **momenta, "h": h}

    def kinds(self, sizes: list[int], like: Tensor) -> Float[Tensor, "N kinds"]:
        """One-hot index of the parameter that each coordinate belongs to."""
        rows = torch.eye(len(sizes), dtype=like.dtype, device=like.device)
        return torch.cat([row.expand(size, -1) for row, size in zip(rows, sizes, strict=True)])


def gru(ψ: Params, x: Float[Tensor, "M N D"], h: Float[Tensor, "M N H"]) -> Float[Tensor, "M N H"]:
    """The next memory of a GRU, see `metarl_run.network.gru`."""
    H = h.shape[-1]
    i, m = baddbmm(ψ["input.bias"], x, ψ["input.weight"]), bmm(h, ψ["memory.weight"])
    r, z = (i[..., : 2 * H] + m[..., : 2 * H]).sigmoid().chunk(2, -1)
    n = (i[..., 2 * H :] + r * (m[..., 2 * H :] + ψ["memory.bias"])).tanh()
    return torch.lerp(n, h, z)


def log_and_sign(g: Tensor) -> tuple[Tensor, Tensor]:
    """(log|g| / p, sign g) where |g| ≥ e⁻ᵖ, else (−1, eᵖ g)."""
    large = g.abs() >= math.exp(-P)
    return torch.where(large, g.abs().clamp(min=SMALL).log() / P, -1.0), torch.where(large, g.sign(), math.exp(P) * g)


def rms(x: Float[Tensor, "M N"], sizes: list[int]) -> Float[Tensor, "M N"]:
    """Root mean square over the coordinates of the same parameter, repeated at each of them."""
    parts = torch.split(x, sizes, -1)
    return torch.cat([part.square().mean(-1, keepdim=True).sqrt().expand_as(part) for part in parts], -1)


def flat(params: Params) -> Float[Tensor, "M N"]:
    """Coordinates of each task's parameters, concatenated."""
    return torch.cat([φ.flatten(1) for φ in params.values()], -1)


def unflat(x: Float[Tensor, "M N"], like: Params) -> Params:
    """The inverse of `flat`."""
    parts = torch.split(x, [φ[0].numel() for φ in like.values()], -1)
    return {name: part.view_as(φ) for (name, φ), part in zip(like.items(), parts, strict=True)}
