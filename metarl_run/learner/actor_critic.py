"""Actor-critic: the policy gradient with a learned value function."""

from typing import Any, ClassVar

import gymnasium
import torch
from torch import Tensor

from metarl_run.component import field
from metarl_run.kinds import Fraction, NonNegative, Positive
from metarl_run.learner.base import Output, rows
from metarl_run.learner.normaliser import Normaliser
from metarl_run.learner.policy_gradient import PolicyGradient, over_steps
from metarl_run.learner.surrogate import SURROGATES, Surrogate, SurrogateName
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.returns import generalized_advantages, masked_mean
from metarl_run.types import Rollout


class Critic(PolicyGradient):
    """Policy gradient with a learned value function as baseline: base of actor-critic and PPO.

        L = − Σ cₜ gain(log πₜ, log π_oldₜ, Âₜ + vₜ, vₜ) / (n σ)
            + c_v E[ (V(sₜ) − (Âₜ + vₜ))² ] / u² − c_e E[ H(π(· | sₜ)) ]

    with vₜ = V(sₜ) held constant and Â the generalised advantage. Where an env runs several episodes, as for an agent
    with memory, Â and v continue across episode ends, with γ′ in place of γ there.

    Args:
        lifetime_discount: γ′ in [0, 1], discount across an episode's end within a lifetime; 0 separates episodes.
        gae_lambda: λ in [0, 1] of the advantages Â; below 1 they inherit V's bias.
        value_weight: c_v ≥ 0.
        value_scale: u > 0, about the size of a return: V = u · output, and value errors are in units of u.
        entropy_weight: c_e ≥ 0.
        net_of_time: subtract from the advantages of each time step their mean over environments, as a further baseline:
            for critics that do not know how much of an episode or lifetime is left.
    """

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient", "critic")

    hyperparameters: ClassVar[tuple[str, ...]] = ("discount", "gae_lambda", "entropy_weight")

    lifetime_discount: Fraction
    gae_lambda: Fraction
    value_weight: NonNegative
    value_scale: Positive
    entropy_weight: NonNegative
    net_of_time: bool = field(default=False)

    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        return {**super().heads(action_space), "value": 1}

    def value(self, output: Output) -> Tensor:
        """V(sₜ), `[…, T, B]`, in units of the reward."""
        return output["value"].squeeze(-1) * self.value_scale

    def returns_and_baseline(self, output: Output, rollout: Rollout) -> tuple[Tensor, Tensor]:
        v = self.value(output).detach()
        last = rollout.last
        within = torch.as_tensor(over_steps(self.discount), dtype=v.dtype, device=v.device)
        γ = torch.where(rollout.ended & ~last, v.new_tensor(self.lifetime_discount), within)
        λ = over_steps(self.gae_lambda)
        advantage = generalized_advantages(rollout.reward, v, rollout.terminated & last, last, discount=γ, gae_lambda=λ)
        return advantage + v[..., :-1, :], v[..., :-1, :]

    def appraise(self, output: Output, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """V(sₜ), and the discounted returns that followed, `[…, T, B]` each."""
        returns, value = self.with_hyperparameters({"gae_lambda": 1.0}).returns_and_baseline(output, rollout)
        return value, returns

    def loss(
        self,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
        shared: Normaliser | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        returns, baseline = self.returns_and_baseline(output, rollout)
        if self.net_of_time:
            baseline = returns - net_of_time(returns - baseline, rollout.alive)
        normaliser = shared or self.normaliser(returns, baseline, rollout)
        return self.loss_given(output, rollout, behaviour, surrogate, returns, baseline, normaliser)

    def loss_given(
        self,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None,
        surrogate: Surrogate | None,
        returns: Tensor,
        baseline: Tensor,
        normaliser: Normaliser,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss` for the given Gₜ, bₜ, n and σ."""
        policy_loss = self.policy_loss(output, rollout, behaviour, surrogate, returns, baseline, normaliser)
        value = self.value(rows(output))
        value_error = normaliser.over_steps(((value - returns) / self.value_scale) ** 2, rollout.alive)
        entropy = normaliser.over_steps(self.policy(rows(output)).entropy(), rollout.alive)
        loss = policy_loss + self.value_weight * value_error - self.entropy_weight * entropy
        return loss, {
            "value_error": value_error.detach().mean(),
            "explained_variance": explained_variance(value.detach(), returns, rollout.alive).mean(),
            "entropy": entropy.detach().mean(),
        }


class ActorCritic(Critic):
    """Actor-critic: the policy gradient with generalised advantages, and regression of V on returns.

    Args:
        surrogate: surrogate of the policy loss, see `metarl_run.learner.surrogate`: all have the same first derivative.

    Source: Mnih et al. (2016), arXiv:1602.01783; Schulman et al. (2016), arXiv:1506.02438, Eq. 16.
    """

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient", "critic", "any_surrogate")

    surrogate_name: SurrogateName = field(alias="surrogate")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.surrogate = SURROGATES[self.surrogate_name]


def explained_variance(value: Tensor, returns: Tensor, alive: Tensor) -> Tensor:
    """1 − Var(G − V) / Var(G) over each task's steps: 1 for a perfect value function, 0 for a constant one."""
    mean = masked_mean(returns, alive)[..., None, None]
    error = returns - value
    variance = masked_mean((returns - mean) ** 2, alive)
    error_mean = masked_mean(error, alive)[..., None, None]
    return 1 - masked_mean((error - error_mean) ** 2, alive) / variance.clamp(min=1e-8)


def net_of_time(x: Tensor, alive: Tensor) -> Tensor:
    """`x` less its mean at each step, over the environments that are alive then.

    Along a lifetime of fixed length returns fall with the time that is left: a value function that knows the time alone
    explains most of their variance, and nothing of what an agent has learned in its task.
    """
    count = alive.sum(-1, keepdim=True).clamp(min=1)
    return x - (x * alive).sum(-1, keepdim=True) / count
