"""What policy-gradient learners share: the policy, and the loss that a surrogate makes of returns and a baseline."""

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
from metarl_run.learner.normaliser import Normaliser, own_counts, pooled, shared_counts, spread
from metarl_run.learner.surrogate import Surrogate
from metarl_run.maths.distributions import Categorical, Distribution, Gaussian
from metarl_run.maths.returns import discount_weights, masked_mean
from metarl_run.types import Rollout

PolicyKind = Literal["auto", "categorical", "gaussian", "gaussian_state_dependent"]
Average = Literal["steps", "episodes"]


class PolicyGradient(BaseLearner):
    """Make actions more likely by how much better than a baseline it went after them.

        L = − Σ cₜ gain(log πₜ, log π_oldₜ, Gₜ, bₜ) / (n σ)        gain: a surrogate, see `metarl_run.learner.surrogate`

    While a task is adapted to, n and σ are its own. In a meta-objective they are constants shared by the meta-batch:
    divided by its own, each task would count the more the less it has to gain, and its loss would not even follow its
    return (`metarl_run.algo.gradient.sampling_correction` needs both).

    Args:
        action_space: of the task family.
        discount: γ in [0, 1], per step.
        discount_steps: cₜ = γᵗ, which makes L an estimate of the discounted return; else cₜ = 1, as is common. (Thomas
            2014, "Bias in natural actor-critic algorithms"; Nota & Thomas 2020, arXiv:1906.07073: cₜ = 1 follows the
            gradient of no function, but does not forget late steps.)
        standardise: subtract the mean of G − b over the task's steps, and take their standard deviation for σ, else 1:
            a step whose size does not depend on the unit of rewards, at the price of a bias. Where all returns are
            alike but for rounding, σ is infinite.
        average: n counts `steps` (the gradient does not grow with the length of episodes; biased in adaptation where
            lengths vary: episodes that happen to be long count for more) or `episodes` (unbiased). Shared by a
            meta-batch, n is T · B steps, lived or not, or the mean number of episodes.
        policy: `categorical` for discrete actions; for continuous ones `gaussian`, whose deviations are parameters of
            their own, or `gaussian_state_dependent`, whose deviations the network puts out; `auto` is `categorical` or
            `gaussian`.
        initial_deviation: of a Gaussian policy, in units of the action, about what it starts with.

    Attributes:
        surrogate: the gain.
        hyperparameters: those that `with_hyperparameters` can exchange.
    """

    action_space: gymnasium.Space[Any]
    discount: Fraction
    discount_steps: bool
    standardise: bool
    average: Average
    asked_kind: PolicyKind = field(alias="policy")
    initial_deviation: Positive
    surrogate: Surrogate = field(init=False)

    hyperparameters: ClassVar[tuple[str, ...]] = ("discount",)

    provides: ClassVar[tuple[str, ...]] = ("policy_gradient",)
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "policy": {
            "categorical": ("discrete_actions",),
            "gaussian": ("continuous_actions",),
            "gaussian_state_dependent": ("continuous_actions",),
        }
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        discrete = isinstance(self.action_space, gymnasium.spaces.Discrete)
        self.kind = ("categorical" if discrete else "gaussian") if self.asked_kind == "auto" else self.asked_kind
        if discrete != (self.kind == "categorical"):
            raise ValueError(f"policy {self.kind} does not suit the action space {self.action_space}; choose auto")
        self.initial_log_deviation = math.log(self.initial_deviation)

    def with_hyperparameters(self, values: Mapping[str, float | Tensor]) -> "PolicyGradient":
        """This learner with other numbers, among `hyperparameters`; the loss is differentiable in them.

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
        return {"log_deviation": action_size(action_space)} if self.kind == "gaussian" else {}

    def policy(self, output: Output) -> Distribution:
        match self.kind:
            case "categorical":
                return Categorical(output["policy"])
            case "gaussian":
                return Gaussian(output["policy"], output["log_deviation"] + self.initial_log_deviation)
        mean, log_deviation = output["policy"].chunk(2, -1)
        return Gaussian(mean, log_deviation + self.initial_log_deviation)

    def divergence(self, behaviour: Distribution, output: Output, rollout: Rollout) -> Tensor:
        """How far the policy has moved: KL(π_old(· | s) ‖ π(· | s)), the mean over each task's steps, `[…]`."""
        kl = behaviour.kl(self.policy(rows(output)))
        return masked_mean(kl, rollout.alive)

    def log_prob(self, output: Output, rollout: Rollout) -> Tensor:
        """log π(aₜ | sₜ) of what was done, `[…, T, B]`."""
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
        """As every learner's, with a surrogate in the place of the configured one, and n and σ of a meta-batch."""
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
        """L for the given Gₜ and bₜ; n and σ are the task's own unless `shared`."""
        log_prob = self.log_prob(output, rollout)
        old = log_prob.detach() if behaviour is None else behaviour.log_prob(rollout.action)
        normaliser = shared or self.normaliser(returns, baseline, rollout)
        if self.standardise:
            baseline = baseline + masked_mean(returns - baseline, rollout.alive)[..., None, None]
        gain = (surrogate or self.surrogate)(log_prob, old, returns, baseline, rollout.ended)
        return -normaliser(self._total(gain, rollout))

    def mean_return(self, rollout: Rollout, shared: Normaliser) -> Tensor:
        """J, the return that the loss follows the derivative of, over the constants of a meta-batch, `[…]`."""
        return shared(self._total(rollout.reward, rollout))

    def normaliser(self, returns: Tensor, baseline: Tensor, rollout: Rollout) -> Normaliser:
        """n and σ of each task by itself."""
        std = spread(returns, baseline, rollout.alive).std if self.standardise else returns.new_ones(())
        return Normaliser(*own_counts(rollout, per_step=self.average == "steps"), std)

    def shared_normaliser(self, experience: Sequence[tuple[Tensor, Tensor, Rollout]]) -> Normaliser:
        """n and σ of a meta-batch.

        Args:
            experience: Gₜ and bₜ, `[M, T, B]`, of some rollouts of some tasks, and the rollouts.
        """
        counts = shared_counts([rollout for _, _, rollout in experience], per_step=self.average == "steps")
        if not self.standardise:
            return Normaliser(*counts, torch.ones_like(counts[0]))
        return Normaliser(*counts, pooled(spread(G, b, rollout.alive) for G, b, rollout in experience).std)

    def _total(self, x: Tensor, rollout: Rollout) -> Tensor:
        """Σ cₜ xₜ over each task's steps."""
        if self.discount_steps:
            x = x * discount_weights(rollout.ended, discount=over_steps(self.discount), dtype=x.dtype)
        return (x * rollout.alive).sum((-2, -1))


def over_steps(x: float | Tensor) -> float | Tensor:
    """A number of each task, `[…]`, as one of each of its steps, `[…, 1, 1]`."""
    return x[..., None, None] if isinstance(x, Tensor) else x
