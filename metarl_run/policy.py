"""Distributions over actions: light records of tensors, sampled from noise that was drawn ahead.

Drawing the noise of many steps at once costs a fraction of drawing it step by step, and leaves one place
(`metarl_run.rollout`) where randomness enters an action.
"""

from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor


class Categorical(NamedTuple):
    """π(a) ∝ exp(logits[a]) over A actions.

    Attributes:
        logits: unnormalised log-probabilities, `[…, A]`.
    """

    logits: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The action argmaxₐ(logits + noise); exact if the noise is standard Gumbel (Gumbel 1954)."""
        return (self.logits + noise).argmax(-1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        log_p = self.logits.log_softmax(-1)
        return -(log_p.exp() * log_p).sum(-1)


def sampling_noise(action_space: gymnasium.Space[Any], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """The noise that `sample` of this space's distributions wants: `[*shape, A]` standard Gumbels if it is discrete."""
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise ValueError(f"action_space must be Discrete, got {action_space}")
    uniform = torch.empty(*shape, int(action_space.n), device=generator.device)
    return uniform.uniform_(generator=generator).log_().neg_().log_().neg_()


def empty_actions(action_space: gymnasium.Space[Any], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Room for actions of this space, zero: integers for discrete actions."""
    if not isinstance(action_space, gymnasium.spaces.Discrete):
        raise ValueError(f"action_space must be Discrete, got {action_space}")
    return torch.zeros(shape, dtype=torch.int64, device=device)
