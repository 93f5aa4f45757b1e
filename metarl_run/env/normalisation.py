"""Running statistics of observations and rewards, which bring what agents see to about unit scale."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.maths.returns import discounted_returns, unit_of
from metarl_run.types import Rollout


class Normalisation:
    """Observations and rewards as agents see them.

        ô = (o − μ) / σ,        r̂ = r / u

    μ and σ are mean and standard deviation of all observations of meta-training so far; u is a constant, or the
    standard deviation of their discounted returns Σₖ γᵏ rₜ₊ₖ. They change between meta-iterations only, so that all
    rollouts of one, and the losses on them, see the same numbers. Tests see those that meta-training ended with.

    Args:
        size: D, features of an observation.
        device: of the statistics.
        observations: normalise observations; a feature that was constant so far is only centred.
        rewards: normalise rewards.
        reward_unit: u; without effect if rewards are normalised.
        discount: γ.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        *,
        observations: bool,
        rewards: bool,
        reward_unit: float,
        discount: float,
    ) -> None:
        self.observations, self.rewards, self.constant, self.discount = observations, rewards, reward_unit, discount
        # Number, sum and sum of squares: of observations, `[3, D]`, and of returns, `[3]`.
        self.seen = torch.zeros(3, size, dtype=torch.float64, device=device)
        self.earned = torch.zeros(3, dtype=torch.float64, device=device)
        self._derive()

    def observation_(self, o: Float[Tensor, "*any D"]) -> None:
        """o → ô, in place."""
        if self.observations:
            o.sub_(self._mean).mul_(self._scale)

    def reward_(self, r: Float[Tensor, "*any"]) -> None:
        """r → r̂, in place."""
        if self.reward_unit != 1.0:
            r.div_(self.reward_unit)

    def update(self, rollouts: Iterable[Rollout]) -> None:
        """Take the experience of one meta-iteration into the statistics."""
        self.add([self.sums_of(rollout) for rollout in rollouts])

    def sums_of(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """The terms of one rollout in number, sum and sum of squares of observations and returns; 0 if not in use."""
        seen, earned = torch.zeros_like(self.seen), torch.zeros_like(self.earned)
        if self.observations:
            o = rollout.observation[..., :-1, :, :][rollout.alive].double() / self._scale.double() + self._mean
            seen = _sums(o)
        if self.rewards:
            returns = discounted_returns(rollout.reward.double(), rollout.ended, discount=self.discount)
            earned = _sums(returns[rollout.alive] * self.reward_unit)
        return seen, earned

    def add(self, terms: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Take such terms into the statistics, one after the other."""
        for seen, earned in terms:
            self.seen += seen
            self.earned += earned
        self._derive()

    def state(self) -> dict[str, Tensor]:
        """Everything that changes."""
        return {"observations": self.seen.clone(), "returns": self.earned.clone()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        self.seen.copy_(state["observations"])
        self.earned.copy_(state["returns"])
        self._derive()

    def _derive(self) -> None:
        mean, std = _mean_and_std(self.seen)
        self._mean, self._scale = mean.float(), std.float().reciprocal()
        self.reward_unit = float(_mean_and_std(self.earned)[1]) if self.rewards else self.constant


def _sums(x: Tensor) -> Tensor:
    """Number, sum and sum of squares over the first axis."""
    return torch.stack([torch.full_like(x.sum(0), len(x)), x.sum(0), x.square().sum(0)])


def _mean_and_std(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation; 0 and 1 before any experience, 1 where it did not vary."""
    n = sums[0].clamp(min=1)
    mean, square = sums[1] / n, sums[2] / n
    std = unit_of((square - mean**2).clamp(min=0), square)
    return mean, torch.where(std.isfinite() & (std > 0), std, 1.0)
