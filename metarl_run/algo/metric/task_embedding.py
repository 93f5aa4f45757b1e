"""Task embedding of experience: every transition is a Gaussian observation of it, and the observations are fused."""

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from metarl_run.component import Component
from metarl_run.learner.base import action_size
from metarl_run.learner.inputs import action_features, observation_size
from metarl_run.network.mlp import MLP
from metarl_run.types import Memory, Params, Percept, Rollout


class TaskEmbedding(Component):
    """Product of Gaussian factors, one per transition, over the embedding of the task.

        g = Σₜ λₜ fₜ / Λ,    Λ = Σₜ λₜ        elementwise: Πₜ N(fₜ | g, 1 / λₜ) is largest there
        fₜ = u(sₜ, aₜ) · v(rₜ, sₜ₊₁ − sₜ, endₜ),    λₜ = softplus(w(sₜ, aₜ))

    The meaning and weight of an outcome depend on the state and action: therefore f is a product of networks u and v,
    and u and w also read the outer product of s and a. The memory of a lifetime consists of the two sums.

    Args:
        observation_space: observations of the task family.
        action_space: actions of the task family.
        size: L, size of an embedding.
        hidden: units of each hidden layer of u, v and w.
        activation: activation of their hidden layers.

    Source: Rakelly et al. (2019), arXiv:1903.08254, for the product of Gaussians; Jayakumar et al. (2020),
    "Multiplicative interactions and where to find them", for the product of networks.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    size: int
    hidden: Sequence[int]
    activation: Literal["tanh", "relu"]

    def __post_init__(self) -> None:
        super().__post_init__()
        D, A, L = observation_size(self.observation_space), action_size(self.action_space), self.size
        self.observation_size, self.parts = D, [D + A + D * A, D + 2]
        before, after = self.parts
        self.situation = self._mlp(before, {"u": L, "w": L})
        self.outcome = self._mlp(after, {"v": L})

    def _mlp(self, num_inputs: int, heads: dict[str, int]) -> MLP:
        return MLP(num_inputs=num_inputs, heads=heads, hidden=self.hidden, activation=self.activation)

    @property
    def num_features(self) -> int:
        """F, features of one step."""
        return sum(self.parts)

    def init(self, generator: torch.Generator) -> Params:
        """Initial parameters of u, v and w."""
        return {**self.situation.init(generator), **self.outcome.init(generator)}

    def inputs(self, percept: Percept, before: Float[Tensor, "X Y D"]) -> Float[Tensor, "X Y F"]:
        """Features of the step that `percept` reports, which started at `before`.

        Where it ended an episode, the current observation is the next one's start and is not read.
        """
        a = action_features(percept.last_action, self.action_space).to(before.dtype)
        both = (before.unsqueeze(-1) * a.unsqueeze(-2)).flatten(-2)
        ended = percept.last_ended.to(before.dtype).unsqueeze(-1)
        change = (percept.observation - before) * (1 - ended)
        return torch.cat([before, a, both, percept.last_reward.unsqueeze(-1), change, ended], -1)

    def inputs_of(self, rollout: Rollout) -> Float[Tensor, "M T B F"]:
        """Features of every step of a rollout."""
        before, now = rollout.observation[:, :-1], rollout.observation[:, 1:]
        steps = Percept(now, rollout.action, rollout.reward, rollout.ended)
        flat = Percept(*(x.flatten(0, 1) for x in steps))
        return self.inputs(flat, before.flatten(0, 1)).view(*before.shape[:-1], -1)

    def evidence(
        self, params: Params, x: Float[Tensor, "X Y F"]
    ) -> tuple[Float[Tensor, "X Y L"], Float[Tensor, "X Y L"]]:
        """λ f and λ of each step."""
        situation, outcome = torch.split(x, self.parts, -1)
        of_situation, _ = self.situation(params, situation, {})
        of_outcome, _ = self.outcome(params, outcome, {})
        λ = softplus(of_situation["w"])
        return λ * of_situation["u"] * of_outcome["v"], λ

    # --- Along a lifetime ---

    def initial_memory(self, num_tasks: int, device: torch.device) -> Memory:
        """The memory before any experience."""
        zeros = torch.zeros(num_tasks, 1, self.size, device=device)
        return {
            "weighted": zeros,  # Σ λ f
            "precision": zeros,  # Λ
            "observation": zeros.new_zeros(num_tasks, 1, self.observation_size),
            "lived": zeros.new_zeros(num_tasks, 1),  # 0 before the first step, then 1
        }

    def observe(self, params: Params, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports."""
        before = memory["observation"].expand_as(percept.observation)
        weighted, λ = self.evidence(params, self.inputs(percept, before))
        lived = memory["lived"].unsqueeze(-1)
        return {
            "weighted": memory["weighted"] + lived * weighted,
            "precision": memory["precision"] + lived * λ,
            "observation": percept.observation,
            "lived": torch.ones_like(percept.last_reward),
        }


def fused(weighted: Tensor, precision: Tensor) -> Tensor:
    """g = Σ λ f / Λ from the two sums; 0 without experience."""
    return weighted / precision.clamp(min=1e-8)


def log_kernel(
    weighted: Float[Tensor, "*X L"], precision: Float[Tensor, "*X L"], e: Float[Tensor, "N L"], temperature: float
) -> Float[Tensor, "*X N"]:
    """log N(g | eᵢ, 1 / Λ + τ / 2) for each embedding eᵢ, up to a constant that is the same for all i.

        −½ ‖g − eᵢ‖²_P  =  P g · eᵢ − ½ P · eᵢ² + …,        P = Λ / (1 + τ Λ / 2)

    Args:
        weighted: Σ λ f of some experience.
        precision: Λ = Σ λ.
        e: embeddings of the stored tasks.
        temperature: τ > 0.
    """
    shrink = 1 / (1 + 0.5 * temperature * precision)
    return (weighted * shrink) @ e.mT - 0.5 * (precision * shrink) @ (e**2).mT
