"""PPO: several clipped policy-gradient steps on the same episodes."""

from typing import Any

import gymnasium

from metarl_run.kinds import Count, Fraction, NonNegative, Positive, checked
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.policy_gradient import Average, PolicyKind
from metarl_run.learner.surrogate import clipped


class PPO(Critic):
    """An actor-critic whose likelihood ratio gains nothing from leaving [1 − ε, 1 + ε].

        L = − E[ min(ρₜ Âₜ, clip(ρₜ, 1 − ε, 1 + ε) Âₜ) ] + c_v E[ (V(sₜ) − (Âₜ + vₜ))² ] / u² − c_e E[ H(π(· | sₜ)) ]

    One adaptation is `epochs` gradient steps on one rollout; ρₜ is relative to the policy that collected it.

    Args:
        action_space: of the task family.
        clip: ε > 0.
        epochs: gradient steps per adaptation.
        discount: γ in [0, 1], per step.
        discount_steps: weigh step t by γᵗ; else by 1.
        lifetime_discount: γ′ in [0, 1], for γ where an episode ends and the agent lives on; 0: each episode for itself.
        gae_lambda: λ in [0, 1] of the advantages Â.
        value_weight: c_v ≥ 0.
        value_scale: u > 0: V = u · output, and its error counts in units of u; about the size of a return.
        entropy_weight: c_e ≥ 0.
        standardise: Â in the first term to mean 0 and deviation 1 over the task's steps.
        average: E in the first term over `steps` or over `episodes`.
        policy: `auto`, `categorical`, `gaussian` or `gaussian_state_dependent`.
        initial_deviation: of a Gaussian policy.

    Differs from the paper: every epoch is one step on all of the rollout, not on minibatches; advantages are estimated
    anew from V in every epoch.
    Source: Schulman et al. (2017), arXiv:1707.06347, Eq. 7 and 9, Algorithm 1.
    """

    @checked
    def __init__(
        self,
        *,
        action_space: gymnasium.Space[Any],
        clip: Positive,
        epochs: Count,
        discount: Fraction,
        discount_steps: bool,
        lifetime_discount: Fraction,
        gae_lambda: Fraction,
        value_weight: NonNegative,
        value_scale: Positive,
        entropy_weight: NonNegative,
        standardise: bool,
        average: Average,
        policy: PolicyKind,
        initial_deviation: Positive,
    ) -> None:
        super().__init__(
            action_space,
            surrogate=clipped(clip),
            discount=discount,
            discount_steps=discount_steps,
            standardise=standardise,
            average=average,
            policy=policy,
            initial_deviation=initial_deviation,
        )
        self.epochs = epochs
        self.lifetime_discount, self.gae_lambda = lifetime_discount, gae_lambda
        self.value_weight, self.value_scale, self.entropy_weight = value_weight, value_scale, entropy_weight
