"""Action values in context: temporal-difference errors along windows of histories, and a slow copy of the network."""

import torch
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.in_context.base import Histories, InContext
from metarl_run.kinds import Fraction
from metarl_run.learner.base import Output
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Params, Rollout


class InContextValues(InContext):
    """Base of algorithms that learn Q in context from its own predictions, one step ahead in the same window.

        yₜ = rₜ + γ (1 − endₜ) v(hₜ₊₁),        θ̄ ← θ̄ + τ (θ − θ̄) after every optimiser step

    v is the algorithm's value of a state. A window's last step has no successor in it and is not learned from.

    Args:
        discount: γ in [0, 1], per step.
        target_rate: τ in [0, 1], of the slow copy θ̄, by which targets are made; 1 makes them by θ itself.

    Source: Tarasov et al. (2025), arXiv:2502.17666.
    """

    discount: Fraction
    target_rate: Fraction

    def __post_init__(self) -> None:
        super().__post_init__()
        self.slow: Params = {name: θ.detach().clone() for name, θ in self.meta_params.items()}

    @torch.no_grad()
    def slow_output(self, histories: Histories) -> Output:
        """Outputs of the slow copy at every step."""
        return self.network.sequence(self.slow, self.tokens.tokens(histories.rollout))

    def updated(self) -> None:
        with torch.no_grad():
            for name, θ in self.meta_params.items():
                self.slow[name].lerp_(θ, self.target_rate)

    def state(self) -> dict[str, object]:
        return {**super().state(), "slow": self.slow}

    def load_state(self, state: dict[str, Params]) -> None:
        super().load_state(state)
        for name, θ in self.slow.items():
            θ.copy_(state["slow"][name])


def targets(value: Float[Tensor, "T N"], rollout: Rollout, discount: float) -> Float[Tensor, "T_ N"]:
    """yₜ = rₜ + γ (1 − endₜ) vₜ₊₁ of every step but the last.

    The token after an episode's end shows the next episode's first state, so the end is that of the return, whether the
    episode terminated or was truncated.

    Args:
        value: v at every step.
        rollout: `[T, N, …]`.
        discount: γ.
    """
    goes_on = (~rollout.ended[:-1]).to(value.dtype)
    return rollout.reward[:-1] + discount * goes_on * value[1:]


def followed(rollout: Rollout) -> Tensor:
    """Whether a target is known of each step but the last: its end, or its successor, is in the window."""
    return rollout.alive[:-1] & (rollout.alive[1:] | rollout.ended[:-1])


def chosen(q: Float[Tensor, "T N A"], rollout: Rollout) -> Float[Tensor, "T_ N"]:
    """Q of the actions that were taken, of every step but the last."""
    return q[:-1].gather(-1, rollout.action[:-1].unsqueeze(-1)).squeeze(-1)


def masked(x: Float[Tensor, "T_ N"], mask: Tensor) -> Tensor:
    """The mean where `mask` is true."""
    return (x * mask).sum() / mask.sum().clamp(min=1)


def softened(q: Float[Tensor, "*N A"], temperature: float) -> Categorical:
    """π(a) ∝ exp(Q(a) / temperature)."""
    return Categorical(q.detach() / temperature)
