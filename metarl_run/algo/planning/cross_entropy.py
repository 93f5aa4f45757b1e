"""The cross-entropy method for sequences of discrete actions."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.component import Component
from metarl_run.kinds import Count, Fraction

Score = Callable[[Int[Tensor, "N C H"]], Float[Tensor, "N C"]]
"""What each of C sequences of H actions is worth in each of N places."""


class CrossEntropy(Component):
    """Sequences of H actions that score high, by drawing, choosing the best and drawing more like them.

        a⁽ᶜ⁾ₕ ~ (1 − ε) pₕ + ε / A,    c in [1, C],        p ← (1 − ρ) frequencies among the K best + ρ p

    as many times as there are rounds. The sequence that is told is the best that was ever drawn; the next step's search
    starts from p, one step further.

    Args:
        horizon: H, actions of a sequence.
        candidates: C, per round.
        elites: K ≤ C.
        rounds: of drawing and choosing.
        inertia: ρ in [0, 1].
        exploration: ε in [0, 1], share of actions that are drawn uniformly.

    Raises:
        ValueError: if there are more elites than candidates.

    Differs from the paper: actions are discrete, so each step has probabilities instead of a Gaussian.
    Source: Chua et al. (2018), arXiv:1805.12114; de Boer et al. (2005), "A tutorial on the cross-entropy
    method", for probabilities.
    """

    horizon: Count
    candidates: Count
    elites: Count
    rounds: Count
    inertia: Fraction
    exploration: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elites > self.candidates:
            raise ValueError(f"elites must be <= candidates, which is {self.candidates}, got {self.elites}")

    def search(
        self, score: Score, p: Float[Tensor, "N H A"], generator: torch.Generator
    ) -> tuple[Int[Tensor, "N H"], Float[Tensor, "N H A"]]:
        """The best sequence found, and p afterwards.

        Args:
            score: what sequences are worth.
            p: probabilities to start from.
            generator: the only randomness used.
        """
        N, H, A = p.shape
        best: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.rounds):
            mixed = (1 - self.exploration) * p + self.exploration / A
            u = torch.rand(N, self.candidates, H, 1, generator=generator, device=p.device)
            actions = (u > mixed.cumsum(-1)[:, None, :, :-1]).sum(-1)
            worth, order = score(actions).topk(self.elites, -1)
            elite = actions.gather(1, order.unsqueeze(-1).expand(-1, -1, H))
            best.append((worth[:, :1], elite[:, :1]))
            p = torch.lerp(one_hot(elite, A).to(p.dtype).mean(1), p, self.inertia)
        worths, sequences = (torch.cat(each, 1) for each in zip(*best, strict=True))
        found = worths.argmax(1).view(-1, 1, 1).expand(-1, 1, H)
        return sequences.gather(1, found).squeeze(1), p
