"""Distributions over actions: light records of tensors, sampled from noise that was drawn ahead.

Drawing the noise of many steps at once costs a fraction of drawing it step by step, and keeps the randomness of actions
in one place, `metarl_run.rollout`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import torch
from torch import Tensor


@runtime_checkable
class Distribution(Protocol):
    """π, one distribution for each entry of `[…]`."""

    def sample(self, noise: Tensor) -> Tensor:
        """The action determined by `noise`, which `sampling_noise` draws."""

    def log_prob(self, action: Tensor) -> Tensor:
        """log π(action) of the whole action, `[…]`."""

    def entropy(self) -> Tensor:
        """H(π) = −E[log π], `[…]`."""

    def kl(self, other: Any) -> Tensor:
        """KL(π ‖ other) = E_π[log π − log other] from a distribution of the same kind, `[…]`."""


def each(policy: Distribution, function: Callable[[Tensor], Tensor]) -> Distribution:
    """`policy` with `function` applied to its every tensor."""
    return type(policy)(*map(function, policy))  # type: ignore[call-overload]


def stacked(policies: Sequence[Distribution], dim: int) -> Distribution:
    """Distributions of one kind and shape, stacked along a new axis."""
    return type(policies[0])(*(torch.stack(x, dim) for x in zip(*policies, strict=True)))


class Categorical(NamedTuple):
    """π(a) ∝ exp(logits[a]) over A actions.

    Attributes:
        logits: unnormalised log-probabilities, `[…, A]`; −∞ where an action is impossible.
    """

    logits: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The action argmaxₐ(logits + noise), exact for standard Gumbel noise (Gumbel 1954)."""
        score = self.logits + noise
        if score.shape[-1] == 2:  # takes half the time of argmax
            left, right = score.unbind(-1)
            return (right > left).long()
        return score.argmax(-1)

    def log_probs(self) -> Tensor:
        """log π of every action, `[…, A]`; not along the last axis, for which torch takes ten times as long."""
        return self.logits.movedim(-1, 0).log_softmax(0).movedim(0, -1)

    def log_prob(self, action: Tensor) -> Tensor:
        return self.log_probs().gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """H = −Σₐ π(a) log π(a), with 0 · log 0 = 0."""
        log_p = self.log_probs()
        # Clamping −∞ before the product, rather than masking the product, keeps NaN out of the gradient too.
        return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)

    def kl(self, other: "Categorical") -> Tensor:
        """KL = Σₐ π(a) (log π(a) − log other(a)), with 0 · log 0 = 0; ∞ if `other` excludes an action of π."""
        log_p, log_q = self.log_probs(), other.log_probs()
        p = log_p.exp()
        return (p * (log_p - log_q).masked_fill(p == 0, 0.0)).sum(-1)


class Gaussian(NamedTuple):
    """π(a) = Πᵢ N(aᵢ; μᵢ, σᵢ²), d independent dimensions.

    Attributes:
        mean: μ, `[…, d]`, in units of the action.
        log_deviation: log σ, `[…, d]` or broadcastable to it.
    """

    mean: Tensor
    log_deviation: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The action μ + σ · noise, for standard normal noise."""
        return torch.addcmul(self.mean, self.log_deviation.exp(), noise)

    def log_prob(self, action: Tensor) -> Tensor:
        """log π(a) = −Σᵢ [½ ((aᵢ − μᵢ) / σᵢ)² + log σᵢ + ½ log 2π]."""
        z = (action - self.mean) * self.log_deviation.neg().exp()
        return -(0.5 * z**2 + self.log_deviation).sum(-1) - 0.5 * math.log(2 * math.pi) * z.shape[-1]

    def entropy(self) -> Tensor:
        """H = Σᵢ [log σᵢ + ½ log 2πe]."""
        return (self.log_deviation.expand_as(self.mean) + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "Gaussian") -> Tensor:
        """KL = ½ Σᵢ [z² + e^δ − 1 − δ], z = (μᵢ − μ′ᵢ) / σ′ᵢ, δ = log(σᵢ² / σ′ᵢ²), where ′ marks `other`."""
        z = (self.mean - other.mean) * other.log_deviation.neg().exp()
        δ = 2 * (self.log_deviation - other.log_deviation)
        return 0.5 * (z**2 + δ.expm1() - δ).sum(-1)


class Uniform(NamedTuple):
    """π(a) = Πᵢ 1 / (highᵢ − lowᵢ) over the box lowᵢ ≤ aᵢ ≤ highᵢ of d dimensions.

    Attributes:
        low: `[…, d]`, in units of the action.
        high: `[…, d]`, each above its low.
    """

    low: Tensor
    high: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """The action low + (high − low) Φ(noise), for standard normal noise."""
        return torch.lerp(self.low, self.high, torch.special.ndtr(noise))

    def log_prob(self, action: Tensor) -> Tensor:
        """log π(a) = −Σᵢ log(highᵢ − lowᵢ) in the box, −∞ outside."""
        inside = ((self.low <= action) & (action <= self.high)).all(-1)
        return torch.where(inside, -self.entropy(), -torch.inf)

    def entropy(self) -> Tensor:
        """H = Σᵢ log(highᵢ − lowᵢ)."""
        return (self.high - self.low).log().sum(-1)

    def kl(self, other: "Uniform") -> Tensor:
        """KL = H(other) − H(π) if the other's box contains this one, else ∞."""
        held = ((other.low <= self.low) & (self.high <= other.high)).all(-1)
        return torch.where(held, other.entropy() - self.entropy(), torch.inf)


def sampling_noise(action_space: gymnasium.Space[Any], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Noise for `sample` of this space's distributions.

    Args:
        action_space: Discrete, or a Box of any bounds.
        shape: leading axes.
        generator: the only randomness used.

    Returns:
        Standard Gumbels `[*shape, A]` for A discrete actions; standard normals `[*shape, d]` for a Box of d numbers.
    """
    return noise_of_(action_space, random_numbers(action_space, shape, generator))


def random_numbers(action_space: gymnasium.Space[Any], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What `noise_of_` makes noise of, see `sampling_noise`: uniform on [0, 1), or standard normal."""
    match action_space:
        case gymnasium.spaces.Discrete():
            uniform = torch.empty(*shape, int(action_space.n), device=generator.device)
            return uniform.uniform_(generator=generator)
        case gymnasium.spaces.Box():
            return torch.randn(*shape, *action_space.shape, generator=generator, device=generator.device)
    raise ValueError(f"action_space must be Discrete or a Box, got {action_space}")


def noise_of_(action_space: gymnasium.Space[Any], numbers: Tensor) -> Tensor:
    """Noise made of random numbers and written over them: the Gumbel −log(−log u) of a uniform u."""
    if isinstance(action_space, gymnasium.spaces.Discrete):
        return numbers.log_().neg_().log_().neg_()
    return numbers


def empty_actions(action_space: gymnasium.Space[Any], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros to hold actions of this space: integers `shape` if it is Discrete, float32 `[*shape, …]` if a Box."""
    match action_space:
        case gymnasium.spaces.Discrete():
            return torch.zeros(shape, dtype=torch.int64, device=device)
        case gymnasium.spaces.Box():
            return torch.zeros(*shape, *action_space.shape, device=device)
    raise ValueError(f"action_space must be Discrete or a Box, got {action_space}")
