"""E-MAML's correction: θ also determines the distribution of the experience that is adapted to."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metarl_run.algo.base import Agents
from metarl_run.algo.gradient.base import GradientBased, MetaBatch
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.types import Rollout


def sampling_correction(algo: GradientBased, agents: Agents, rollouts: Sequence[Rollout], batch: MetaBatch) -> Tensor:
    """A loss whose derivative is the missing term of the meta-gradient, of each task, `[M]`.

        ∇_θ E_τ[ J(φ_K(θ, τ)) ] = E_τ[ ∇_θ J(φ_K(θ, τ)) + J(φ_K(θ, τ)) Σₖ ∇_θ log p(τₖ | φₖ(θ)) ],        k in [0, K)

    The first term takes the experience τ as given, the second accounts for its distribution; this is minus the second,
    with J held constant. J is the return of the last rollout over n and σ of the meta-batch, less its mean over the
    other tasks, a baseline that is independent of this task's τ and only changes the variance. J must not be divided by
    the task's own n or σ: with a reward of 1 per step, the mean over a task's own steps is 1 for any episode length.

    Bias: none, if the update is differentiated at fixed data, as with the score function. The second derivatives of the
    other surrogates already contain the expectation of this term, for infinitely many episodes: it would count twice.
    The learner's baseline must not shrink the query gradient: `others` or `none` is exact, `time` is off by 1/B.
    Without this term, MAML that adapts to one episode is off by 9 % with score and 3 % with dice for tables of logits,
    by 9 to 37 % with either for a network of 8 tanh units (medians; `scripts/studies/estimators` prints all rows).
    With standardise=true, σ is estimated from the rollouts that J is measured on, which biases both terms alike, less
    the more tasks share it.
    Variance: high; the score is a sum over all steps of all episodes adapted to.

    Args:
        algo: computes network outputs.
        agents: φ₀(θ), …, φ_K(θ) with their graph.
        rollouts: τ₀, …, τ_K.
        batch: the whole meta-batch.

    Source: Stadie et al. (2018), arXiv:1803.01118; Al-Shedivat et al. (2018), arXiv:1710.03641.
    """
    learner = algo.learner
    assert isinstance(learner, PolicyGradient)  # the configuration was checked for it
    assert batch.normaliser is not None
    J = learner.mean_return(rollouts[-1], batch.normaliser)
    all_J = torch.cat([learner.mean_return(rollout, batch.normaliser) for rollout in batch.rollouts])
    centred = J - (all_J.sum() - J) / max(len(all_J) - 1, 1)
    log_p = [
        (learner.log_prob(algo.output(agent.params, rollout), rollout) * rollout.alive).sum((-2, -1))
        for agent, rollout in zip(agents[:-1], rollouts[:-1], strict=True)
    ]
    return -centred * torch.stack(log_p).sum(0)
