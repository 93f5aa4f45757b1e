"""Base of policy-gradient learners: the policy, and the loss of a surrogate of returns and a baseline."""

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.component import field
from metarl_run.kinds import Fraction, Positive
from metarl_run.learner.base import BaseLearner, Output, action_size, rows
from metarl_run.learner.normaliser import (
    Normaliser,
    PartOfBatch,
    PartOfTask,
    Spread,
    counts_of_parts,
    of_whole_task,
    own_counts,
    pooled,
    shared_counts,
    spread,
)
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Categorical, Distribution, Gaussian
from metarl_run.maths.returns import discount_weights, masked_mean
from metarl_run.maths.squashed_gaussian import SquashedGaussian
from metarl_run.types import Rollout

PolicyKind = Literal["auto", "categorical", "gaussian", "gaussian_state_dependent", "squashed_gaussian"]
Average = Literal["steps", "episodes"]


class PolicyGradient(BaseLearner):
    """Policy gradient: raise the log-probability of actions in proportion to their advantage over a baseline.

        L = − Σ cₜ gain(log πₜ, log π_oldₜ, Gₜ, bₜ) / (n σ)        gain: a surrogate, see `metarl_run.learner.surrogate`

    In adaptation n and σ are the task's own. In a meta-objective they are constants shared by the meta-batch: divided
    by its own constants, a task with little to gain would weigh more, and its loss would not follow its return
    (`metarl_run.algo.gradient.sampling_correction` relies on both).

    Args:
        action_space: actions of the task family.
        discount: γ in [0, 1], per step.
        discount_steps: cₜ = γᵗ, so that L estimates the discounted return; else cₜ = 1, as is common. (Thomas 2014,
            "Bias in natural actor-critic algorithms"; Nota & Thomas 2020, arXiv:1906.07073: with cₜ = 1 it follows the
            gradient of no function, but late steps keep their weight.)
        standardise: normalise advantages: subtract the mean of G − b over the task's steps, and let σ be their standard
            deviation, else 1. The step size then does not depend on the unit of the reward, at the price of a bias.
            Where all returns are equal up to rounding, σ is infinite.
        average: n counts `steps` (the gradient does not grow with the length of episodes; biased in adaptation where
            lengths vary: longer episodes weigh more) or `episodes` (unbiased). Shared by a meta-batch, n is T · B
            steps, including padding, or the mean number of episodes.
        policy: `categorical` for discrete actions; for continuous ones `gaussian`, with standard deviations as separate
            parameters, `gaussian_state_dependent`, with standard deviations from the network, or `squashed_gaussian`,
            a tanh of the former that covers a bounded space without clipping; `auto` is `categorical` or `gaussian`.
        initial_deviation: approximate initial standard deviation of a Gaussian policy, in units of the action; of a
            squashed one, before the tanh.

    Attributes:
        surrogate: the gain.
        hyperparameters: names of those that `with_hyperparameters` can replace.
    """

    action_space: gymnasium.Space[Any]
    discount: Fraction
    discount_steps: bool
    standardise: bool
    average: Average
    configured_kind: PolicyKind = field(alias="policy")
    initial_deviation: Positive
    surrogate: Surrogate = field(init=False)

    hyperparameters: ClassVar[tuple[str, ...]] = ("discount",)

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient",)
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "policy": {
            "categorical": ("discrete_actions",),
            "gaussian": ("continuous_actions",),
            "gaussian_state_dependent": ("continuous_actions",),
            "squashed_gaussian": ("continuous_actions",),
        }
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        self.kind = (
            ("categorical" if discrete else "gaussian") if self.configured_kind == "auto" else self.configured_kind
        )
        if discrete != (self.kind == "categorical"):
            raise ValueError(f"policy {self.kind} does not suit the action space {self.action_space}; choose auto")
        if self.kind == "squashed_gaussian":
            if not (isinstance(space := self.action_space, gymnasium.spaces.Box) and space.is_bounded()):
                raise ValueError(f"policy squashed_gaussian needs bounds on actions, got {space}; choose auto")
            self.low, self.high = torch.from_numpy(space.low.copy()), torch.from_numpy(space.high.copy())
        self.initial_log_std = math.log(self.initial_deviation)

    def with_hyperparameters(self, values: Mapping[str, float | Tensor]) -> "PolicyGradient":
        """A copy with other values of some `hyperparameters`; the loss is differentiable in them.

        Args:
            values: by name; a tensor has one value per task, `[…]`.
        """
        if unknown := sorted(values.keys() - set(self.hyperparameters)):
            raise ValueError(f"{type(self).__name__} has no hyperparameter {unknown[0]!r}")
        other = copy.copy(self)
        vars(other).update(values)
        return other

    # --- The policy ---

    def heads(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        size = action_size(action_space)
        return {"policy": 2 * size if self.kind == "gaussian_state_dependent" else size}

    def constants(self, action_space: gymnasium.Space[Any]) -> dict[str, int]:
        own = self.kind in ("gaussian", "squashed_gaussian")
        return {"log_deviation": action_size(action_space)} if own else {}

    def policy(self, output: Output) -> Distribution:
        match self.kind:
            case "categorical":
                return Categorical(output["policy"])
            case "gaussian":
                return Gaussian(output["policy"], output["log_deviation"] + self.initial_log_std)
            case "squashed_gaussian":
                mean = output["policy"]
                low, high = (bound.to(mean).expand_as(mean) for bound in (self.low, self.high))
                return SquashedGaussian(mean, output["log_deviation"] + self.initial_log_std, low, high)
        mean, log_deviation = output["policy"].chunk(2, -1)
        return Gaussian(mean, log_deviation + self.initial_log_std)

    def divergence(self, behaviour: Distribution, output: Output, rollout: Rollout) -> Tensor:
        """KL(π_old(· | s) ‖ π(· | s)), the mean over each task's steps, `[…]`."""
        kl = behaviour.kl(self.policy(rows(output)))
        return masked_mean(kl, rollout.alive)

    def log_prob(self, output: Output, rollout: Rollout) -> Tensor:
        """log π(aₜ | sₜ) of the actions taken, `[…, T, B]`."""
        return self.policy(rows(output)).log_prob(rollout.action)

    # --- The loss ---

    @abstractmethod
    def returns_and_baseline(self, output: Output, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Gₜ and bₜ, `[…, T, B]`: constants of the loss."""

    def loss(
        self,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None = None,
        surrogate: Surrogate | None = None,
        shared: Normaliser | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of each task, and metrics; `surrogate` replaces the configured one, `shared` the task's n and σ."""
        returns, baseline = self.returns_and_baseline(output, rollout)
        return self.policy_loss(output, rollout, behaviour, surrogate, returns, baseline, shared), {}

    def policy_loss(
        self,
        output: Output,
        rollout: Rollout,
        behaviour: Distribution | None,
        surrogate: Surrogate | None,
        returns: Tensor,
        baseline: Tensor,
        shared: Normaliser | None = None,
    ) -> Tensor:
        """L for the given Gₜ and bₜ; n and σ are the task's own unless `shared` is given."""
        log_prob = self.log_prob(output, rollout)
        old = log_prob.detach() if behaviour is None else behaviour.log_prob(rollout.action)
        normaliser = shared or self.normaliser(returns, baseline, rollout)
        if self.standardise:
            mean = masked_mean(returns - baseline, rollout.alive) if normaliser.mean is None else normaliser.mean
            baseline = baseline + mean[..., None, None]
        gain = (surrogate or self.surrogate)(log_prob, old, returns, baseline, rollout.ended)
        return -normaliser(self._total(gain, rollout))

    def mean_return(self, rollout: Rollout, shared: Normaliser) -> Tensor:
        """J, the return whose derivative the loss estimates, over the constants of a meta-batch, `[…]`."""
        return shared(self._total(rollout.reward, rollout))

    def normaliser(self, returns: Tensor, baseline: Tensor, rollout: Rollout) -> Normaliser:
        """n and σ of each task."""
        std = spread(returns, baseline, rollout.alive).std if self.standardise else returns.new_ones(())
        return Normaliser(*own_counts(rollout, per_step=self.average == "steps"), std)

    def shared_normaliser(self, experience: Sequence[tuple[Tensor, Tensor, Rollout]]) -> Normaliser:
        """n and σ of a meta-batch.

        Args:
            experience: Gₜ, bₜ, `[M, T, B]` each, and the rollouts that they are of.
        """
        counts = shared_counts([rollout for _, _, rollout in experience], per_step=self.average == "steps")
        if not self.standardise:
            return Normaliser(*counts, torch.ones_like(counts[0]))
        return Normaliser(*counts, pooled(spread(G, b, rollout.alive) for G, b, rollout in experience).std)

    def normaliser_of_batch(self, parts: Sequence[Sequence[PartOfBatch]]) -> Normaliser:
        """`shared_normaliser` of a meta-batch, from the sums over its parts, `[part][rollout]`."""
        counts = counts_of_parts(parts, per_step=self.average == "steps")
        if not self.standardise:
            return Normaliser(*counts, torch.ones_like(counts[0]))
        return Normaliser(*counts, pooled(one.spread for part in parts for one in part).std)

    def normaliser_of_task(self, parts: Sequence[PartOfTask]) -> Normaliser:
        """`normaliser` of a task, from the sums over its parts, and the mean of its advantages."""
        whole = of_whole_task(parts)
        n = whole.steps if self.average == "steps" else whole.episodes
        if not self.standardise:
            return Normaliser(whole.steps, n, torch.ones_like(whole.mean), torch.zeros_like(whole.mean))
        std = Spread(whole.steps, whole.advantages, whole.returns).std
        return Normaliser(whole.steps, n, std, whole.mean)

    def _total(self, x: Tensor, rollout: Rollout) -> Tensor:
        """Σ cₜ xₜ over each task's steps."""
        if self.discount_steps:
            x = x * discount_weights(rollout.ended, discount=over_steps(self.discount), dtype=x.dtype)
        return (x * rollout.alive).sum((-2, -1))


def over_steps(x: float | Tensor) -> float | Tensor:
    """A value per task, `[…]`, broadcastable over its steps, `[…, 1, 1]`."""
    return x[..., None, None] if isinstance(x, Tensor) else x
