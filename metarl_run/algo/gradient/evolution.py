"""Evolution strategies: a gradient estimate from returns alone, without differentiating through lifetimes."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.types import Params


class Evolution(Component):
    """Gradient of a smoothed fitness from antithetic pairs of perturbed parameters, one pair per task.

        ĝ = (1/M) Σᵢ (Fᵢ(ψ + σ εᵢ) − Fᵢ(ψ − σ εᵢ)) / (2 σ) · εᵢ,        εᵢ ~ N(0, I),        E ĝ = ∇ E_ε F(ψ + σ ε)

    Args:
        std: σ.
        generator: source of ε.

    Attributes:
        sign: 1 or −1 while the first or second agent of each pair is evaluated; 0: no perturbation.

    Source: Salimans et al. (2017), arXiv:1703.03864 (mirrored sampling).
    """

    std: float
    generator: torch.Generator
    sign: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ε: Params = {}

    def perturbed(self, ψ: Params) -> Params:
        """ψ + sign · σ ε of each task, `[M, …]`; a new ε is drawn for the first agent of a pair."""
        if self.sign == 0:
            return ψ
        if self.sign > 0:
            self.ε = {name: self._normal(w) for name, w in ψ.items()}
        return {name: w + self.sign * self.std * self.ε[name] for name, w in ψ.items()}

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, dtype=like.dtype, device=like.device)

    def gradients(self, difference: Float[Tensor, " M"]) -> list[Tensor]:
        """Each task's term of the mean ĝ, `[M, …]` each.

        Args:
            difference: Fᵢ(ψ + σ εᵢ) − Fᵢ(ψ − σ εᵢ).
        """
        slope = difference / (2 * self.std)
        return [slope.view(-1, *[1] * (ε.dim() - 1)) * ε for ε in self.ε.values()]
