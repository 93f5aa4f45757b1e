"""Cross-entropy method for sequences of discrete actions."""

from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.component import Component
from metarl_run.kinds import AtMost, Count, Fraction

Score = Callable[[Int[Tensor, "N C H"]], Float[Tensor, "N C"]]
"""Scores of C sequences of H actions in each of N envs."""


class CrossEntropy(Component):
    """Search for high-scoring sequences of H actions: sample, select the elites, refit the distribution.

        a⁽ᶜ⁾ₕ ~ (1 − ε) pₕ + ε / A,    c in [1, C],        p ← (1 − ρ) frequencies among the K best + ρ p

    in every round. The result is the best sequence of all rounds; the next step's search starts from p, shifted by one
    step.

    Args:
        horizon: H, actions per sequence.
        candidates: C, per round.
        elites: K ≤ C.
        rounds: number of rounds.
        inertia: ρ in [0, 1].
        exploration: ε in [0, 1], share of actions drawn uniformly.

    Raises:
        ValueError: if there are more elites than candidates.

    Differs from the paper: actions are discrete, so each step has a categorical distribution instead of a Gaussian.
    Source: Chua et al. (2018), arXiv:1805.12114; de Boer et al. (2005), "A tutorial on the cross-entropy
    method", for categorical distributions.
    """

    horizon: Count
    candidates: Count
    elites: Annotated[Count, AtMost("candidates")]
    rounds: Count
    inertia: Fraction
    exploration: Fraction

    def search(
        self, score: Score, p: Float[Tensor, "N H A"], generator: torch.Generator
    ) -> tuple[Int[Tensor, "N H"], Float[Tensor, "N H A"]]:
        """The best sequence found, and p afterwards.

        Args:
            score: objective to maximise.
            p: initial probabilities.
            generator: the only randomness used.
        """
        N, H, A = p.shape
        best: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.rounds):
            mixed = (1 - self.exploration) * p + self.exploration / A
            u = torch.rand(N, self.candidates, H, 1, generator=generator, device=p.device)
            actions = (u > mixed.cumsum(-1)[:, None, :, :-1]).sum(-1)
            scores, order = score(actions).topk(self.elites, -1)
            elite = actions.gather(1, order.unsqueeze(-1).expand(-1, -1, H))
            best.append((scores[:, :1], elite[:, :1]))
            p = torch.lerp(one_hot(elite, A).to(p.dtype).mean(1), p, self.inertia)
        best_scores, sequences = (torch.cat(each, 1) for each in zip(*best, strict=True))
        index = best_scores.argmax(1).view(-1, 1, 1).expand(-1, 1, H)
        return sequences.gather(1, index).squeeze(1), p
