"""Surrogates: per-step gains whose derivatives estimate those of the expected return.

All have the same arguments and differ in how log-probabilities, and thereby θ, enter the gain of step t:

    ρₜ = π(aₜ | sₜ) / π_old(aₜ | sₜ) = exp(log πₜ − log π_oldₜ)        1 in value where π_old is π itself, held constant
    □ₜ = Π ρ_t′ over the episode's steps t′ ≤ t                          "magic box"

    score        log πₜ · (Gₜ − bₜ)
    ratio        ρₜ · (Gₜ − bₜ)
    clipped      min(ρₜ (Gₜ − bₜ), clip(ρₜ, 1 − ε, 1 + ε) (Gₜ − bₜ))
    dice         (□ₜ − □ₜ₋₁) Gₜ − (ρₜ − 1) bₜ
    loaded_dice  (□ₜ − □ₜ₋₁) (Gₜ − bₜ)

Summed over an episode with weights γᵗ, all have the same unbiased first derivative if b is independent of aₜ and of all
that follows. Second derivatives, which MAML needs, differ, as each docstring states. Figures are medians over 20 random
MDPs of 3 states, 2 actions and 3 steps, for tables of logits, with b = V and one episode, by enumeration of all
trajectories (`scripts/studies/estimators`): errors relative to the true derivative, variances relative to its square.
Figures of networks differ, see `score`.

"Unbiased" refers to one rollout's derivatives. MAML's meta-gradient is a product of two estimates and therefore exact
only as the number B of episodes grows: with B = 1, `dice` is 3 % off for a table, as is `ratio`, and 9 to 35 % for a
network. See `metarl_run.algo.gradient.sampling_correction` for a meta-gradient that is exact for any B.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from metarl_run.maths.returns import running_sum

Surrogate = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(log π, log π_old, G, b, ended), each `[…, T, B]`, G and b constants → gain of each step `[…, T, B]`."""


def score(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
    """The score function: log π · (G − b).

    Bias: none in the gradient. The second derivative is E[∇² log π (G − b)], which lacks all products of scores. For a
    table of logits and b = V it is zero (error 1.00), so that second-order MAML equals first-order MAML in expectation.
    For a network it is neither zero nor exact: with 8 tanh units and an inner step of ½, the meta-gradients of MAML and
    FOMAML differ by .11 of the true one's norm at random weights (errors .49 and .53), and by .23 at initial weights
    (.08 and .29), where most of the curvature is the network's own. Without a baseline it is useless (table: error
    1.6). It is the exact derivative of the update at fixed data, which E-MAML's correction requires.
    Variance: 4 for the Hessian, a quarter of the unbiased ones'.
    Source: Williams (1992); on the second derivative Foerster et al. (2018), arXiv:1802.05098.
    """
    return log_prob * (returns - baseline)


def ratio(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
    """The likelihood ratio of single steps, "low variance curvature": ρ · (G − b).

    Bias: none in the gradient. The second derivative E[(∇² log π + ∇log π ∇log πᵀ)(G − b)] contains the products of
    scores of the same step but not those of different steps (error 0.27); exact if episodes have one step.
    Variance: 5 for the Hessian.
    Source: Rothfuss et al. (2019), arXiv:1810.06784, Eq. 9 and 10.
    """
    return (log_prob - old_log_prob).exp() * (returns - baseline)


def dice(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
    """DiCE with its baseline: (□ₜ − □ₜ₋₁) Gₜ − (ρₜ − 1) bₜ.

    The sum over an episode, with weights γᵗ, equals the usual Σ γᵗ □ₜ rₜ + Σ γᵗ (1 − ρₜ) bₜ up to a constant, if G is
    the sum of rewards to go.
    Bias: none in any derivative, for any b that is independent of aₜ and of all that follows.
    Variance: the baseline reduces that of the gradient only; 20 for the Hessian, the highest here.
    Source: Foerster et al. (2018), arXiv:1802.05098.
    """
    log_ρ = log_prob - old_log_prob
    through = running_sum(log_ρ, ended)
    return (through.exp() - (through - log_ρ).exp()) * returns - (log_ρ.exp() - 1) * baseline


def loaded_dice(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
    """Loaded DiCE: (□ₜ − □ₜ₋₁) (Gₜ − bₜ).

    Bias: none in any derivative, if G is the sum of rewards to go and b is independent of aₜ and of all that follows;
    that of the advantages, if G − b are generalised advantages with λ < 1.
    Variance: the baseline reduces that of every derivative; 17 for the Hessian.
    Source: Farquhar et al. (2019), arXiv:1909.10549, here with λ = 1 and τ = 1.
    """
    log_ρ = log_prob - old_log_prob
    through = running_sum(log_ρ, ended)
    return (through.exp() - (through - log_ρ).exp()) * (returns - baseline)


def clipped(clip: float) -> Surrogate:
    """The ratio, with no gain from leaving [1 − ε, 1 + ε].

    At ρ = 1 it has the derivatives of `ratio`.

    Args:
        clip: ε > 0.

    Source: Schulman et al. (2017), arXiv:1707.06347, Eq. 7.
    """

    def gain(log_prob: Tensor, old_log_prob: Tensor, returns: Tensor, baseline: Tensor, ended: Tensor) -> Tensor:
        ρ, advantage = (log_prob - old_log_prob).exp(), returns - baseline
        return (ρ * advantage).minimum(ρ.clamp(1 - clip, 1 + clip) * advantage)

    return gain


SurrogateName = Literal["score", "ratio", "dice", "loaded_dice"]
SURROGATES: dict[SurrogateName, Surrogate] = {"score": score, "ratio": ratio, "dice": dice, "loaded_dice": loaded_dice}
