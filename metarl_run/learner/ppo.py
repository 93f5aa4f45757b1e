"""PPO: several clipped policy-gradient steps on the same episodes."""

from metarl_run.kinds import Count, Positive
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.surrogate import clipped


class PPO(Critic):
    """Actor-critic with the clipped surrogate: no gain from likelihood ratios outside [1 − ε, 1 + ε].

        L = − E[ min(ρₜ Âₜ, clip(ρₜ, 1 − ε, 1 + ε) Âₜ) ] + c_v E[ (V(sₜ) − (Âₜ + vₜ))² ] / u² − c_e E[ H(π(· | sₜ)) ]

    One adaptation is `epochs` gradient steps on one rollout; ρₜ is relative to the policy that collected it.

    Args:
        clip: ε > 0.
        epochs: gradient steps per adaptation.

    Differs from the paper: every epoch is one step on the whole rollout, not on minibatches; advantages are estimated
    anew from V in every epoch.
    Source: Schulman et al. (2017), arXiv:1707.06347, Eq. 7 and 9, Algorithm 1.
    """

    clip: Positive
    epochs: Count

    def __post_init__(self) -> None:
        super().__post_init__()
        self.surrogate = clipped(self.clip)
