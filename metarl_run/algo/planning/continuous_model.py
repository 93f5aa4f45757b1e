"""Learned model of continuous states: features, a posterior over the last layer, terminations and values."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.algo.planning import running_statistics as running
from metarl_run.algo.planning.last_layer import Posterior, posterior
from metarl_run.component import Component
from metarl_run.network.mlp import LAST_LAYER_SCALE, MLP
from metarl_run.types import Params, Rollout

FARTHEST = 10.0
"""Largest distance of an expected state from the mean, in standard deviations."""


class ContinuousModel(Component):
    """State changes and rewards linear in learned features, with a weight matrix specific to the task.

        (sₜ₊₁ − sₜ, rₜ) = Kᵀ φ(sₜ, aₜ) + noise,        K | τ_{:t} in closed form: `metarl_run.algo.planning.last_layer`
        P(end at t) = logistic(e(sₜ, aₜ, ŝₜ₊₁)),        V(s): discounted return from s

    Each of E members has its own network φ and its own parameters K̄₀ and noise σ; e and V are shared. States, changes
    and rewards are normalised by running statistics of meta-training.

    Args:
        size: D, features of a state.
        num_actions: A.
        members, features, hidden, activation, end_hidden, value_hidden, discount, least_noise: as in
            `metarl_run.algo.planning.continuous_dynamics`.

    Source: Harrison, Sharma and Pavone (2018), arXiv:1807.08912, for φ and K.
    """

    measured: ClassVar[frozenset[str]] = running.names("state", "change", "reward")

    size: int
    num_actions: int
    members: int
    features: int
    hidden: Sequence[int]
    activation: Literal["tanh", "relu"]
    end_hidden: Sequence[int]
    value_hidden: Sequence[int]
    discount: float
    least_noise: float

    def __post_init__(self) -> None:
        super().__post_init__()
        D, A, kind = self.size, self.num_actions, self.activation
        self.last = f"features.{len(self.hidden)}.weight"
        self.φ = MLP(num_inputs=D + A, heads={"features": self.features}, hidden=self.hidden, activation=kind)
        self.e = MLP(num_inputs=D + A + D, heads={"end": 1}, hidden=self.end_hidden, activation=kind)
        self.V = MLP(num_inputs=D, heads={"value": 1}, hidden=self.value_hidden, activation=kind)

    def init(self, generator: torch.Generator) -> Params:
        D, F, E, device = self.size, self.features, self.members, generator.device
        networks = [self.φ.init(generator) for _ in range(E)]
        φ = {name: torch.stack([θ[name] for θ in networks]) for name in networks[0]}
        φ[self.last] /= LAST_LAYER_SCALE  # undo the small initial scale of MLP's last layer
        return {
            **φ,
            "prior_mean": torch.zeros(E, F, D + 1, device=device),
            "log_noise": torch.full((E, D + 1), -1.0, device=device),
            **self.e.init(generator),
            **self.V.init(generator),
            **running.fresh("state", D, device),
            **running.fresh("change", D, device),
            **running.fresh("reward", 1, device),
        }

    def measure(self, params: Params, lifetimes: Rollout) -> None:
        before, after = lifetimes.observation[:-1], lifetimes.observation[1:]
        running.follow(params, "state", before, lifetimes.alive)
        running.follow(params, "change", after - before, lifetimes.alive & ~lifetimes.ended)
        running.follow(params, "reward", lifetimes.reward.unsqueeze(-1), lifetimes.alive)

    def features_of(self, params: Params, observation: Tensor, action: Tensor) -> Float[Tensor, "E X F"]:
        """φ of the states and actions, `[X, …]`."""
        z = running.normalised(params, "state", observation)
        x = torch.cat([z, one_hot(action, self.num_actions).to(z.dtype)], -1)
        return self.φ(self.part(params, "features."), x.expand(self.members, -1, -1), {})[0]["features"]

    def outputs(self, params: Params, before: Tensor, after: Tensor, reward: Tensor) -> Tensor:
        """Regression targets: the state change and the reward, normalised, `[…, D + 1]`."""
        change = running.normalised(params, "change", after - before)
        return torch.cat([change, running.normalised(params, "reward", reward.unsqueeze(-1))], -1)

    def part(self, params: Params, prefix: str) -> Params:
        """The parameters of one network."""
        return {name: θ for name, θ in params.items() if name.startswith(prefix)}

    def noise(self, params: Params) -> Float[Tensor, "E D1"]:
        """σ."""
        return params["log_noise"].exp().clamp(min=self.least_noise)

    def posteriors(self, params: Params, squares: Tensor, products: Tensor) -> tuple[Posterior, Posterior]:
        """Posteriors over the columns of K for state changes, and for the reward; in float64."""
        prior, squares, products = (x.double() for x in (params["prior_mean"], squares, products))
        D = self.size
        of_change = posterior(prior[..., :D], squares[..., 0, :, :], products[..., :D])
        return of_change, posterior(prior[..., D:], squares[..., 1, :, :], products[..., D:])

    def expected(self, both: tuple[Posterior, Posterior], φ: Float[Tensor, "*N J F"]) -> tuple[Tensor, Tensor]:
        """The mean of Kᵀ φ and its variance over σ², `[…, J, D + 1]` each."""
        of_change, of_reward = both
        mean = torch.cat([φ.double() @ each.mean for each in both], -1)
        spread = of_change.spread(φ.double()).unsqueeze(-1).expand(*φ.shape[:-1], self.size)
        return mean.to(φ.dtype), torch.cat([spread, of_reward.spread(φ.double()).unsqueeze(-1)], -1).to(φ.dtype)

    def next_state(self, params: Params, z: Tensor, change: Tensor) -> Tensor:
        """The normalised state after a normalised change."""
        step = change * running.std(params, "change") + params["change.mean"]
        return (z + step / running.std(params, "state")).clamp(-FARTHEST, FARTHEST)

    def ends(self, params: Params, before: Float[Tensor, "*X DA"], after: Float[Tensor, "*X D"]) -> Float[Tensor, "*X"]:
        """e: log-odds that a step from a state and action to the expected next state ends the episode."""
        return self.e(self.part(params, "end."), torch.cat([before, after], -1), {})[0]["end"].squeeze(-1)

    def value(self, params: Params, z: Float[Tensor, "*X D"]) -> Float[Tensor, "*X"]:
        """V at normalised states, in units of the reward."""
        scale = running.std(params, "reward") / (1 - self.discount)
        return self.V(self.part(params, "value."), z, {})[0]["value"].squeeze(-1) * scale
