"""Dynamics model of continuous states: a network whose last layer adapts, with a sampling-based planner."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.algo.planning import running_statistics as running
from metarl_run.algo.planning.base import DynamicsModel
from metarl_run.algo.planning.continuous_loss import model_loss, value_loss
from metarl_run.algo.planning.continuous_model import ContinuousModel
from metarl_run.algo.planning.cross_entropy import CrossEntropy
from metarl_run.kinds import BelowOne, Count, Fraction, Positive, Widths
from metarl_run.learner.base import num_actions
from metarl_run.learner.inputs import observation_size
from metarl_run.maths.distributions import Categorical
from metarl_run.types import Memory, Params, Percept, Rollout


class ContinuousDynamics(DynamicsModel):
    """Model-predictive control in a `continuous_model` whose last layers adapt to the task at every step.

    The agent takes the first of the actions a_{t:t+H} that maximise

        J(a) = meanₑ E[Σₕ γʰ Πᵢ₍ᵢ₌₁…ₕ₎ (1 − pᵢ) r̂ₕ + γᴴ Πᵢ (1 − pᵢ) V(ŝ_H)]

    where each of E members predicts its own expected states ŝ, rewards r̂ and termination probabilities p.

    Args:
        observation_space: observations of the task family.
        action_space: actions of the task family.
        planner: optimiser of a.
        features: F, size of φ.
        hidden: units of each hidden layer of φ.
        activation: activation of all hidden layers.
        end_hidden: units of each hidden layer of e.
        value_hidden: units of each hidden layer of V.
        belief: K used in planning: the posterior `mean`, or a posterior `sample` of each member, redrawn at every step.
        discount: γ < 1, per step: V, in units of 1 / (1 − γ), would have no bound.
        value_lambda: λ in [0, 1] of V's targets, λ-returns.
        contexts: prefixes per lifetime and optimiser step that the rest is predicted from.
        targets: steps of the rest that are predicted.
        least_noise: lower bound of σ, in units of the outputs' standard deviations.

    Raises:
        ValueError: if γ is 1.

    Differs from the papers: the members' last layers adapt; members differ by random weights of the lifetimes they
    learn from; plans are completed by V.
    Source: Harrison, Sharma and Pavone (2018), arXiv:1807.08912, for φ, K and their learning; Chua et al. (2018),
    arXiv:1805.12114, for the ensemble and the planner; Lowrey et al. (2019), arXiv:1811.01848, for the terminal V.
    """

    measured: ClassVar[frozenset[str]] = ContinuousModel.measured

    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    planner: CrossEntropy
    features: Count
    hidden: Widths
    activation: Literal["tanh", "relu"]
    end_hidden: Widths
    value_hidden: Widths
    belief: Literal["mean", "sample"]
    discount: BelowOne
    value_lambda: Fraction
    contexts: Count
    targets: Count
    least_noise: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        self.size, self.num_actions = observation_size(self.observation_space), num_actions(self.action_space)
        self.model = ContinuousModel(
            size=self.size,
            num_actions=self.num_actions,
            members=self.members,
            features=self.features,
            hidden=self.hidden,
            activation=self.activation,
            end_hidden=self.end_hidden,
            value_hidden=self.value_hidden,
            discount=self.discount,
            least_noise=self.least_noise,
        )

    def init(self, generator: torch.Generator) -> Params:
        return self.model.init(generator)

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        D, F, E, A = self.size, self.features, self.members, self.num_actions
        zeros = params["prior_mean"].new_zeros(num_tasks, 1)
        return {
            "squares": zeros.new_zeros(num_tasks, 1, E, 2, F, F),  # of steps with a successor state; of all steps
            "products": zeros.new_zeros(num_tasks, 1, E, F, D + 1),
            "observation": zeros.new_zeros(num_tasks, 1, D),
            "lived": zeros.long(),
            "plan": zeros.new_full((num_tasks, 1, self.planner.horizon, A), 1 / A),
            "choice": zeros.new_zeros(num_tasks, 1, A),  # logits
        }

    # --- Acting ---

    def act(self, params: Params, memory: Memory, percept: Percept) -> tuple[Categorical, Memory]:
        return Categorical(memory["choice"].expand(*percept.last_reward.shape, -1)), self.observe(
            params, memory, percept
        )

    def draw(self, params: Params, memory: Memory, percept: Percept, generator: torch.Generator) -> Memory:
        seen = self.observe(params, memory, percept)
        M, B = percept.last_reward.shape
        K = self.last_layers(params, seen, generator)
        z = running.normalised(params, "state", percept.observation).flatten(0, 1)
        p = memory["plan"].expand(M, B, -1, -1)
        uniform = torch.full_like(p[..., :1, :], 1 / self.num_actions)
        p = torch.where(
            percept.last_ended[..., None, None], 1 / self.num_actions, torch.cat([p[..., 1:, :], uniform], -2)
        )
        best, p = self.planner.search(lambda a: self.plan_returns(params, K, z, a), p.flatten(0, 1), generator)
        choice = one_hot(best[:, 0], self.num_actions).to(p.dtype).log().view(M, B, -1)
        return {**memory, "plan": p.view(M, B, *p.shape[1:]), "choice": choice}

    def observe(self, params: Params, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports: its sums Φᵀ Φ and Φᵀ Y."""
        shape = percept.last_reward.shape
        old = {name: x.expand(*shape, *x.shape[2:]) for name, x in memory.items()}
        happened = old["lived"] > 0
        followed = happened & ~percept.last_ended
        φ = self.model.features_of(params, old["observation"].flatten(0, 1), percept.last_action.flatten())
        φ = φ.movedim(0, 1).reshape(*shape, self.members, -1)
        y = self.model.outputs(params, old["observation"], percept.observation, percept.last_reward)
        counts = torch.stack([followed, happened], -1).to(φ.dtype)
        square = φ.unsqueeze(-1) * φ.unsqueeze(-2)
        of_output = counts[..., [0] * self.size + [1]]
        return {
            **old,
            "squares": old["squares"] + square.unsqueeze(3) * counts[:, :, None, :, None, None],
            "products": old["products"] + φ.unsqueeze(-1) * (y * of_output)[:, :, None, None],
            "observation": percept.observation,
            "lived": old["lived"] + 1,
        }

    def last_layers(self, params: Params, seen: Memory, generator: torch.Generator) -> Float[Tensor, "E N F D1"]:
        """K of each member in each of N envs, `belief` of its posterior."""
        both = self.model.posteriors(params, seen["squares"].flatten(0, 1), seen["products"].flatten(0, 1))
        if self.belief == "mean":
            K = torch.cat([each.mean for each in both], -1)
        else:
            σ = self.model.noise(params).double().unsqueeze(-2)
            K = torch.cat(
                [each.sample(s, generator) for each, s in zip(both, (σ[..., :-1], σ[..., -1:]), strict=True)], -1
            )
        return K.to(seen["products"].dtype).transpose(0, 1).contiguous()

    def plan_returns(
        self, params: Params, K: Float[Tensor, "E N F D1"], z: Float[Tensor, "N D"], actions: Int[Tensor, "N C H"]
    ) -> Float[Tensor, "N C"]:
        """J of action sequences that start in the normalised states z."""
        E, (N, C, H), γ = self.members, actions.shape, self.discount
        φ = self.model.part(params, "features.")
        K = K.flatten(0, 1)
        taken = one_hot(actions, self.num_actions).to(z.dtype)
        z = z.view(1, N, 1, -1).expand(E, -1, C, -1)
        alive, total = z.new_ones(E, N, C), z.new_zeros(E, N, C)
        r_mean, r_std = params["reward.mean"], running.std(params, "reward")
        for h in range(H):
            x = torch.cat([z, taken[None, :, :, h].expand(E, -1, -1, -1)], -1)
            y = torch.bmm(self.model.φ(φ, x.flatten(1, 2), {})[0]["features"].view(E * N, C, -1), K).view(E, N, C, -1)
            total = total + γ**h * alive * (y[..., -1] * r_std + r_mean)
            z = self.model.next_state(params, z, y[..., :-1])
            alive = alive * torch.sigmoid(-self.model.ends(params, x, z))
        return (total + γ**H * alive * self.model.value(params, z)).mean(0)

    # --- Learning ---

    def measure(self, params: Params, lifetimes: Rollout) -> None:
        self.model.measure(params, lifetimes)

    def loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        weights = self.bootstrap_weights(lifetimes.reward.shape[1], generator)
        model = model_loss(
            self.model, params, lifetimes, weights, generator, contexts=self.contexts, targets=self.targets
        )
        value = value_loss(self.model, params, lifetimes, value_lambda=self.value_lambda)
        metrics = {"model_loss": model[0].detach(), "end_loss": model[1].detach(), "value_loss": value.detach()}
        return model[0] + model[1] + value, metrics
