"""A world of states that are numbers: a network whose last layer adapts to the task, and plans drawn in it."""

import math
from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

from metarl_run.algo import moments
from metarl_run.algo.cross_entropy import CrossEntropy
from metarl_run.algo.experience import observation_size
from metarl_run.algo.last_layer import Posterior, posterior
from metarl_run.algo.world import World
from metarl_run.kinds import Count, Fraction, Positive, Widths, checked
from metarl_run.learner.base import num_actions
from metarl_run.network.mlp import LAST_LAYER_SCALE, MLP
from metarl_run.policy import Categorical
from metarl_run.returns import generalized_advantages, masked_mean
from metarl_run.types import Memory, Params, Percept, Rollout

FARTHEST = 10.0
"""Deviations from the mean that an imagined state is held to."""


class ContinuousWorld(World):
    """Changes of the state and rewards that are linear in learned features, by a matrix that is the task's own.

        (sₜ₊₁ − sₜ, rₜ) = Kᵀ φ(sₜ, aₜ) + noise,        K | τ_{:t} in closed form: `metarl_run.algo.last_layer`
        P(end at t) = logistic(e(sₜ, aₜ, ŝₜ₊₁)),        V(s): what follows s, discounted

    φ is a network, K̄₀ and the noise σ parameters, of their own in each of E members; e and V are shared. At every step
    the agent takes the first of the actions a_{t:t+H} that score best in

        J(a) = meanₑ E[Σₕ γʰ Πᵢ₍ᵢ₌₁…ₕ₎ (1 − pᵢ) r̂ₕ + γᴴ Πᵢ (1 − pᵢ) V(ŝ_H)]

    each member following its own expected states.

    Args:
        observation_space: of the task family.
        action_space: of the task family.
        planner: searches for a.
        members: E.
        features: F, of φ.
        hidden: units of each hidden layer of φ.
        activation: of all hidden layers.
        end_hidden: units of each hidden layer of e.
        value_hidden: units of each hidden layer of V.
        belief: K in a plan: its `mean`, or a `sample` of each member, anew at every step.
        discount: γ, per step.
        value_lambda: λ of V's targets, in [0, 1]: λ-returns.
        contexts: beginnings of each lifetime that its rest is predicted from, per step of the optimiser.
        targets: steps of that rest.
        least_noise: in units of the outputs' deviations; σ is no smaller.

    Differs from the papers: members have last layers that adapt, and learn from other lifetimes each, weighted at
    random; plans end in V.
    Source: Harrison, Sharma and Pavone (2018), arXiv:1807.08912, section 3, for φ, K and their learning; Chua et al.
    (2018), arXiv:1805.12114, sections 4 and 5, for the ensemble and the plans; Lowrey et al. (2019), arXiv:1811.01848,
    section 2, for V at their end.
    """

    measured = moments.names("state", "change", "reward")

    @checked
    def __init__(
        self,
        *,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.Space[Any],
        planner: CrossEntropy,
        members: Count,
        features: Count,
        hidden: Widths,
        activation: Literal["tanh", "relu"],
        end_hidden: Widths,
        value_hidden: Widths,
        belief: Literal["mean", "sample"],
        discount: Fraction,
        value_lambda: Fraction,
        contexts: Count,
        targets: Count,
        least_noise: Positive,
    ) -> None:
        D, A = observation_size(observation_space), action_space.n if hasattr(action_space, "n") else 1
        self.size, self.num_actions, self.planner = D, int(A), planner
        self.members, self.features, self.belief = members, features, belief
        self.discount, self.value_lambda = discount, value_lambda
        self.contexts, self.targets, self.least_noise = contexts, targets, least_noise
        A = self.num_actions
        self.last = f"features.{len(hidden)}.weight"
        self.φ = MLP(num_inputs=D + A, heads={"features": features}, hidden=hidden, activation=activation)
        self.e = MLP(num_inputs=D + A + D, heads={"end": 1}, hidden=end_hidden, activation=activation)
        self.V = MLP(num_inputs=D, heads={"value": 1}, hidden=value_hidden, activation=activation)

    def init(self, generator: torch.Generator) -> Params:
        D, F, E, device = self.size, self.features, self.members, generator.device
        networks = [self.φ.init(generator) for _ in range(E)]
        φ = {name: torch.stack([θ[name] for θ in networks]) for name in networks[0]}
        φ[self.last] /= LAST_LAYER_SCALE  # nothing hangs on features that start small
        return {
            **φ,
            "prior_mean": torch.zeros(E, F, D + 1, device=device),
            "log_noise": torch.full((E, D + 1), -1.0, device=device),
            **self.e.init(generator),
            **self.V.init(generator),
            **moments.fresh("state", D, device),
            **moments.fresh("change", D, device),
            **moments.fresh("reward", 1, device),
        }

    def blank(self, params: Params, num_tasks: int) -> Memory:
        D, F, E, A = self.size, self.features, self.members, self.num_actions
        nothing = params["prior_mean"].new_zeros(num_tasks, 1)
        return {
            "squares": nothing.new_zeros(num_tasks, 1, E, 2, F, F),  # of steps with a state after them, of all
            "products": nothing.new_zeros(num_tasks, 1, E, F, D + 1),
            "observation": nothing.new_zeros(num_tasks, 1, D),
            "lived": nothing.long(),
            "plan": nothing.new_full((num_tasks, 1, self.planner.horizon, A), 1 / A),
            "choice": nothing.new_zeros(num_tasks, 1, A),  # logits
        }

    # --- Acting ---

    def act(self, params: Params, memory: Memory, percept: Percept) -> tuple[Categorical, Memory]:
        return Categorical(memory["choice"].expand(*percept.last_reward.shape, -1)), self.observe(params, memory, percept)

    def draw(self, params: Params, memory: Memory, percept: Percept, generator: torch.Generator) -> Memory:
        seen = self.observe(params, memory, percept)
        M, B = percept.last_reward.shape
        K = self.believed(params, seen, generator)
        z = moments.standardised(params, "state", percept.observation).flatten(0, 1)
        p = memory["plan"].expand(M, B, -1, -1)
        uniform = torch.full_like(p[..., :1, :], 1 / self.num_actions)
        p = torch.where(percept.last_ended[..., None, None], 1 / self.num_actions, torch.cat([p[..., 1:, :], uniform], -2))
        best, p = self.planner.search(lambda a: self.worth(params, K, z, a), p.flatten(0, 1), generator)
        choice = one_hot(best[:, 0], self.num_actions).to(p.dtype).log().view(M, B, -1)
        return {**memory, "plan": p.view(M, B, *p.shape[1:]), "choice": choice}

    def observe(self, params: Params, memory: Memory, percept: Percept) -> Memory:
        """The sums after what `percept` says about the step before."""
        shape = percept.last_reward.shape
        old = {name: x.expand(*shape, *x.shape[2:]) for name, x in memory.items()}
        happened = old["lived"] > 0
        followed = happened & ~percept.last_ended
        φ = self.featured(params, old["observation"].flatten(0, 1), percept.last_action.flatten())
        φ = φ.movedim(0, 1).unflatten(0, shape)  # [M, B, E, F]
        y = self.outputs(params, old["observation"], percept.observation, percept.last_reward)
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

    def featured(self, params: Params, observation: Tensor, action: Tensor) -> Float[Tensor, "E X F"]:
        """φ of the states and actions, `[X, …]`."""
        z = moments.standardised(params, "state", observation)
        x = torch.cat([z, one_hot(action, self.num_actions).to(z.dtype)], -1)
        return self.φ(self.part(params, "features."), x.expand(self.members, -1, -1), {})[0]["features"]

    def outputs(self, params: Params, before: Tensor, after: Tensor, reward: Tensor) -> Tensor:
        """What φ is to explain: the change of the state and the reward, standardised, `[…, D + 1]`."""
        change = moments.standardised(params, "change", after - before)
        return torch.cat([change, moments.standardised(params, "reward", reward.unsqueeze(-1))], -1)

    def part(self, params: Params, prefix: str) -> Params:
        """The parameters of one network."""
        return {name: θ for name, θ in params.items() if name.startswith(prefix)}

    def noise(self, params: Params) -> Float[Tensor, "E D1"]:
        """σ."""
        return params["log_noise"].exp().clamp(min=self.least_noise)

    def posteriors(self, params: Params, squares: Tensor, products: Tensor) -> tuple[Posterior, Posterior]:
        """The beliefs about the columns of K for changes of the state, and for the reward; in float64."""
        prior, squares, products = (x.double() for x in (params["prior_mean"], squares, products))
        D = self.size
        of_change = posterior(prior[..., :D], squares[..., 0, :, :], products[..., :D])
        return of_change, posterior(prior[..., D:], squares[..., 1, :, :], products[..., D:])

    def believed(self, params: Params, seen: Memory, generator: torch.Generator) -> Float[Tensor, "E N F D1"]:
        """K of each member, in each slot."""
        both = self.posteriors(params, seen["squares"].flatten(0, 1), seen["products"].flatten(0, 1))
        if self.belief == "mean":
            K = torch.cat([each.mean for each in both], -1)
        else:
            σ = self.noise(params).double().unsqueeze(-2)
            K = torch.cat([each.sample(s, generator) for each, s in zip(both, (σ[..., :-1], σ[..., -1:]), strict=True)], -1)
        return K.to(seen["products"].dtype).transpose(0, 1).contiguous()

    def worth(
        self, params: Params, K: Float[Tensor, "E N F D1"], z: Float[Tensor, "N D"], actions: Int[Tensor, "N C H"]
    ) -> Float[Tensor, "N C"]:
        """J of sequences of actions that begin in the standardised states z."""
        E, (N, C, H), γ = self.members, actions.shape, self.discount
        φ, e = self.part(params, "features."), self.part(params, "end.")
        K = K.flatten(0, 1)
        taken = one_hot(actions, self.num_actions).to(z.dtype)
        z = z.view(1, N, 1, -1).expand(E, -1, C, -1)
        alive, total = z.new_ones(E, N, C), z.new_zeros(E, N, C)
        r_mean, r_deviation = params["reward.mean"], moments.deviation(params, "reward")
        for h in range(H):
            x = torch.cat([z, taken[None, :, :, h].expand(E, -1, -1, -1)], -1)
            y = torch.bmm(self.φ(φ, x.flatten(1, 2), {})[0]["features"].view(E * N, C, -1), K).view(E, N, C, -1)
            total = total + γ**h * alive * (y[..., -1] * r_deviation + r_mean)
            z = self.moved(params, z, y[..., :-1])
            alive = alive * torch.sigmoid(-self.e(e, torch.cat([x, z], -1), {})[0]["end"].squeeze(-1))
        return (total + γ**H * alive * self.value(params, z)).mean(0)

    def moved(self, params: Params, z: Tensor, change: Tensor) -> Tensor:
        """The standardised state after a standardised change."""
        step = change * moments.deviation(params, "change") + params["change.mean"]
        return (z + step / moments.deviation(params, "state")).clamp(-FARTHEST, FARTHEST)

    def value(self, params: Params, z: Float[Tensor, "*X D"]) -> Float[Tensor, "*X"]:
        """V at standardised states, in units of the reward."""
        scale = moments.deviation(params, "reward") / (1 - self.discount)
        return self.V(self.part(params, "value."), z, {})[0]["value"].squeeze(-1) * scale

    # --- Learning ---

    def measure(self, params: Params, lifetimes: Rollout) -> None:
        before, after = lifetimes.observation[:-1], lifetimes.observation[1:]
        moments.follow(params, "state", before, lifetimes.alive)
        moments.follow(params, "change", after - before, lifetimes.alive & ~lifetimes.ended)
        moments.follow(params, "reward", lifetimes.reward.unsqueeze(-1), lifetimes.alive)

    def loss(
        self, params: Params, lifetimes: Rollout, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        model = self.model_loss(params, lifetimes, generator)
        value = self.value_loss(params, lifetimes)
        told = {"model_loss": model[0].detach(), "end_loss": model[1].detach(), "value_loss": value.detach()}
        return model[0] + model[1] + value, told

    def model_loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """−log p of steps to come, and the cross-entropy of the ends among them."""
        T, N = lifetimes.reward.shape
        E, J, device = self.members, self.targets, lifetimes.reward.device
        s = lifetimes.observation[:-1]
        φ = self.featured(params, s.flatten(0, 1), lifetimes.action.flatten()).view(E, T, N, -1).permute(2, 0, 1, 3)
        y = self.outputs(params, s, lifetimes.observation[1:], lifetimes.reward).transpose(0, 1)  # [N, T, D + 1]
        followed = (lifetimes.alive & ~lifetimes.ended).T.to(y.dtype)
        alive = lifetimes.alive.T.to(y.dtype)
        of_output = torch.cat([followed.unsqueeze(-1).expand(-1, -1, self.size), alive.unsqueeze(-1)], -1)
        length = lifetimes.alive.sum(0)
        n = torch.arange(N, device=device).unsqueeze(-1)
        σ = self.noise(params).unsqueeze(1)
        shares = self.shares(N, generator)
        surprise, ends = torch.zeros_like(y[0, 0, 0]), torch.zeros_like(y[0, 0, 0])
        for _ in range(self.contexts):
            u = torch.rand(N, 1 + J, generator=generator, device=device)
            t = (length * u[:, 0].square()).long().unsqueeze(-1)  # beginnings are short more often than not
            past = (torch.arange(T, device=device) < t).to(y.dtype)
            masks = torch.stack([past * followed, past * alive], 1)[:, None, :, :, None]  # [N, 1, 2, T, 1]
            squares = (φ.unsqueeze(2) * masks).mT @ φ.unsqueeze(2)  # [N, E, 2, F, F]
            products = φ.mT @ (y * of_output * past.unsqueeze(-1)).unsqueeze(1)
            at = t + ((length.unsqueeze(-1) - t) * u[:, 1:]).long()  # [N, J], at or after t
            both = self.posteriors(params, squares, products)
            φ_at, y_at = φ[n, :, at].transpose(1, 2), y[n, at].unsqueeze(1)  # [N, E, J, F], [N, 1, J, D + 1]
            expected = torch.cat([(φ_at.double() @ each.mean).to(y.dtype) for each in both], -1)
            spread = [each.spread(φ_at.double()).to(y.dtype).unsqueeze(-1) for each in both]
            variance = σ.square() * (1 + torch.cat([spread[0].expand(-1, -1, -1, self.size), spread[1]], -1))
            nll = 0.5 * ((y_at - expected).square() / variance + (2 * math.pi * variance).log())
            surprise = surprise + ((nll * of_output[n, at].unsqueeze(1)).sum(-1).mean(-1) * shares.T).mean()
            z = moments.standardised(params, "state", s.transpose(0, 1)[n, at])
            a = one_hot(lifetimes.action.T[n, at], self.num_actions).to(z.dtype)
            before = torch.cat([z, a], -1).unsqueeze(1).expand(-1, E, -1, -1)
            after = self.moved(params, z.unsqueeze(1), expected[..., :-1].detach())
            logit = self.e(self.part(params, "end."), torch.cat([before, after], -1), {})[0]["end"].squeeze(-1)
            ended = lifetimes.terminated.T[n, at].to(z.dtype).unsqueeze(1).expand_as(logit)
            ends = ends + binary_cross_entropy_with_logits(logit, ended)
        return surprise / self.contexts, ends / self.contexts

    def value_loss(self, params: Params, lifetimes: Rollout) -> Tensor:
        """The squared error of V to λ-returns, in units of 1 / (1 − γ) rewards.

        What an episode that was cut off led to is not seen; it is taken to be worth as much as the state before it.
        """
        v = self.value(params, moments.standardised(params, "state", lifetimes.observation))
        known = v.detach()
        reward = lifetimes.reward + self.discount * known[:-1] * lifetimes.truncated
        advantage = generalized_advantages(
            reward, known, lifetimes.ended, lifetimes.ended, discount=self.discount, gae_lambda=self.value_lambda
        )
        scale = moments.deviation(params, "reward") / (1 - self.discount)
        error = (v[:-1] - known[:-1] - advantage) / scale
        return 0.5 * masked_mean(error.square(), lifetimes.alive)

    def shares(self, number: int, generator: torch.Generator) -> Float[Tensor, "E N"]:
        """How much each lifetime counts for each member: 1 on average, exponentially distributed.

        Source: Rubin (1981), "The Bayesian bootstrap".
        """
        if self.members == 1:
            return torch.ones(1, number, device=generator.device)
        u = torch.rand(self.members, number, generator=generator, device=generator.device)
        return u.clamp(min=1e-6).log().neg()
