"""Where a task lies, by what was lived in it: every transition is an uncertain sight of the task's place."""

from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from metarl_run.algo.experience import action_features, observation_size
from metarl_run.learner.base import action_size
from metarl_run.network.mlp import MLP
from metarl_run.types import Params, Rollout


class TaskEmbedding:
    """The embedding of experience, and its distance from other tasks' embeddings.

        Λ = Σₜ λ(xₜ),    g = Σₜ λ(xₜ) f(xₜ) / (1 + Λ),        xₜ = (sₜ, aₜ, rₜ, sₜ₊₁ − sₜ, endₜ)

    elementwise: the mean of N(g | 0, 1) Πₜ N(f(xₜ) | g, 1 / λ(xₜ)). Both sums run along a lifetime, in any order.

    Args:
        observation_space: of the task family.
        action_space: of the task family.
        size: L, numbers of an embedding.
        hidden: units of each hidden layer of f and of λ.
        activation: of their hidden layers.

    Source: Rakelly et al. (2019), arXiv:1903.08254, section 4.1, for the product of Gaussians.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        *,
        size: int,
        hidden: Any,
        activation: Literal["tanh", "relu"],
    ) -> None:
        self.action_space, self.size = action_space, size
        D, A = observation_size(observation_space), action_size(action_space)
        self.num_inputs = 2 * D + A + 2
        self.network = MLP(
            num_inputs=self.num_inputs, heads={"sight": size, "precision": size}, hidden=hidden, activation=activation
        )

    def inputs(self, observation: Tensor, action: Tensor, reward: Tensor, after: Tensor, ended: Tensor) -> Tensor:
        """xₜ, `[…, F]`; what follows an end is another episode's first observation, of which nothing is read."""
        goes_on = (~ended).to(observation.dtype).unsqueeze(-1)
        a = action_features(action, self.action_space).to(observation.dtype)
        change = (after - observation) * goes_on
        return torch.cat([observation, a, reward.unsqueeze(-1), change, 1 - goes_on], -1)

    def inputs_of(self, rollout: Rollout) -> Float[Tensor, "*M T B F"]:
        """xₜ of every step."""
        before, after = rollout.observation[..., :-1, :, :], rollout.observation[..., 1:, :, :]
        return self.inputs(before, rollout.action, rollout.reward, after, rollout.ended)

    def sights(self, params: Params, x: Float[Tensor, "*X F"]) -> tuple[Float[Tensor, "*X L"], Float[Tensor, "*X L"]]:
        """λ(x) f(x) and λ(x)."""
        output, _ = self.network(params, x, {})
        λ = softplus(output["precision"])
        return λ * output["sight"], λ


def place(weighted: Tensor, precision: Tensor) -> Tensor:
    """g of the sums Σ λ f and Λ."""
    return weighted / (1 + precision)


def log_kernel(
    weighted: Float[Tensor, "*X L"], precision: Float[Tensor, "*X L"], embeddings: Float[Tensor, "N L"]
) -> Float[Tensor, "*X N"]:
    """−½ Σₜ ‖f(xₜ) − eᵢ‖²_λ(xₜ) for each embedding eᵢ, but for what is the same for all i.

        = −½ ‖Σλf / Λ − eᵢ‖²_Λ + …  = (Σ λ f) · eᵢ − ½ Λ · eᵢ²
    """
    return weighted @ embeddings.mT - 0.5 * precision @ (embeddings**2).mT


def stress(
    embeddings: Float[Tensor, "N L"], regret: Float[Tensor, "N N"], known: Bool[Tensor, "N N"]
) -> Tensor:
    """Mean of (‖eᵢ − eⱼ‖ − √regretᵢⱼ)² over the pairs whose regret is known.

    Source: Kruskal (1964), "Multidimensional scaling by optimizing goodness of fit", Eq. (raw stress).
    """
    square = (embeddings.unsqueeze(0) - embeddings.unsqueeze(1)).square().sum(-1)
    distance = (square + 1e-6).sqrt()
    error = (distance - regret.sqrt()) ** 2
    return (error * known).sum() / known.sum().clamp(min=1)
