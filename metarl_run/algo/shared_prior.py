"""Shared prior: an upper level distilled from, and regularising, one lower-level learner per task."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from metarl_run.algo.base import Agents, Live, Losses, MetaLearner
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.algo.gradient.objective import MetaObjective
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import Count, NonNegative
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import BaseLearner, Output, rows
from metarl_run.learner.normaliser import Normaliser
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.returns import masked_mean
from metarl_run.types import Params, Rollout


class SharedPrior(GradientBased, MetaLearner):
    """Two levels: θ, a policy π₀ and value function V₀ shared by all tasks; φ, an actor-critic per task, starts at θ.

        start:  φ₀ = θ
        adapt:  φₖ₊₁ = φₖ − α ∇ L(φₖ, rolloutₖ)        with rewards r + c_KL log π₀ − (c_KL + c_H) log π_φₖ
        learn:  ∇_θ  (1/M) Σᵢ meanₖ Dₖⁱ,    Dₖ = E[ KL(π_φ_K ‖ π_φₖ(θ)) + c_v (V_φₖ(θ)(s) − G)² / u² ],    k in [0, K)

    E is the mean over the task's own steps of rollout_K, collected by the adapted policy: a task counts the same
    however long its episodes are (J sums over steps; at each state the minimum is the same). G is the γ-discounted
    return to go of the same rewards. Each lower level maximises its task's share of

        J = Σᵢ E[ Σₜ γᵗ (r − c_KL log(π_φⁱ / π₀) − c_H log π_φⁱ) ]

    D₀ moves π₀ to the centre of the lower policies: it minimises KL(π_φ_K ‖ π₀), the only term of J that depends on π₀.
    Where tasks demand opposite actions in states that look alike, that centre does not tell them apart; the terms k ≥ 1
    therefore distil into the intermediate lower levels, too. φₖ(θ) = θ − α Σ ∇L with the sum held constant: no second
    derivatives.

    Args:
        learner: actor-critic of the lower levels; defines the policy, L, G, c_v and u.
        adaptation_steps: K in meta-training.
        kl_weight: c_KL ≥ 0, in units of the reward per nat: strength of the pull towards π₀.
        entropy_weight: c_H ≥ 0, in units of the reward per nat: entropy bonus of the lower levels.
        distil_into: `prior`, D₀ alone, or `path`, all Dₖ.
        meta_optimizer: update rule of θ.

    Differs from the paper: lower levels start at θ in fresh tasks instead of persisting through training; with
    distil_into=path they are distilled into as well, a form of bootstrapping, here with G in place of the target's
    value and without second derivatives.
    Source: Teh et al. (2017), arXiv:1707.04175 (c_H is its c_Ent); Flennerhag et al. (2022), arXiv:2109.04504,
    for k ≥ 1.
    """

    learner: Critic
    adaptation_steps: Count
    first_order: bool = field(init=False, default=True)
    kl_weight: NonNegative
    entropy_weight: NonNegative
    distil_into: Literal["prior", "path"]
    meta_optimizer: GradientRule

    provides: ClassVar[tuple[str, ...]] = ("sum_over_tasks",)
    requires: ClassVar[tuple[str, ...]] = ("critic",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.distilled_steps = range(1 if self.distil_into == "prior" else self.adaptation_steps)
        self.meta_optimizer.attach(self.meta_params)

    # --- The upper level regularises the lower ones ---

    def regularised(self, output: Output, rollout: Rollout) -> Rollout:
        """The rollout with rewards r + c_KL log π₀ − (c_KL + c_H) log π of the actions taken: constants of the loss.

        Args:
            output: network output of the lower level, π.
            rollout: the task's experience.
        """
        with torch.no_grad():
            log_π, log_π0 = (
                self.learner.log_prob(out, rollout) for out in (output, self.output(self.initial, rollout))
            )
            bonus = self.kl_weight * log_π0 - (self.kl_weight + self.entropy_weight) * log_π
        return rollout._replace(reward=rollout.reward + bonus * rollout.alive)

    def loss_of(
        self,
        learner: BaseLearner,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None,
        surrogate: Surrogate | None,
        shared: Normaliser | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return super().loss_of(learner, output, self.regularised(output, rollout), behaviour, surrogate, shared)

    # --- The lower levels are distilled into the upper one ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        return self.meta_optimizer.improve(MetaObjective(self, self.distillation, live(self.adaptation_steps)))

    def distillation(self, agents: Agents, rollouts: Sequence[Rollout], batch: MetaBatch | None = None) -> Losses:
        """meanₖ Dₖ of each task, `[M]`; the other tasks of the `batch` do not enter."""
        rollout = rollouts[-1]
        with torch.no_grad():
            expert = self.output(agents[-1].params, rollout)
            returns, _ = self.learner.returns_and_baseline(expert, self.regularised(expert, rollout))
        distances = [self.distance(expert, returns, agents[k].params, rollout) for k in self.distilled_steps]
        kl, error = (torch.stack(each) for each in zip(*distances, strict=True))
        return (kl + self.learner.value_weight * error).mean(0), {
            "kl_of_prior": kl[0].detach().mean(),
            "kl_of_last": kl[-1].detach().mean(),
            "value_error": error.detach().mean(),
        }

    def distance(self, expert: Output, returns: Tensor, params: Params, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """KL(π_expert ‖ π) and (V − G)² / u² of each task, `[M]`: means over the steps of `rollout`.

        Args:
            expert: network output of the target policy.
            returns: G, `[M, T, B]`.
            params: parameters of π and V.
            rollout: the states to compare at.
        """
        output = self.output(params, rollout)
        error = (self.learner.value(rows(output)) - returns) / self.learner.value_scale
        kl = self.learner.divergence(self.learner.behaviour(expert), output, rollout)
        return kl, masked_mean(error**2, rollout.alive)
