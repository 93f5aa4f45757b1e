"""A world of states that are numbers: a network whose last layer adapts to the task, and plans drawn in it."""

import math
from typing import Any, Literal, NamedTuple

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


class Steps(NamedTuple):
    """What T steps of N lifetimes teach.

    Attributes:
        φ: features of each member.
        y: outputs, of which the last is the reward.
        counts: 1 where an output was seen, else 0: what follows the last step of an episode is not.
    """

    φ: Float[Tensor, "N E T F"]
    y: Float[Tensor, "N T D1"]
    counts: Float[Tensor, "N T D1"]


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
        discount: γ < 1, per step.
        value_lambda: λ of V's targets, in [0, 1]: λ-returns.
        contexts: beginnings of each lifetime that its rest is predicted from, per step of the optimiser.
        targets: steps of that rest.
        least_noise: in units of the outputs' deviations; σ is no smaller.

    Raises:
        ValueError: if γ is 1.

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
        if discount == 1:
            raise ValueError("discount must be < 1: V, in units of 1 / (1 - discount), would have no bound; got 1")
        D, A = observation_size(observation_space), num_actions(action_space)
        self.size, self.num_actions, self.planner = D, A, planner
        self.members, self.features, self.belief = members, features, belief
        self.discount, self.value_lambda = discount, value_lambda
        self.contexts, self.targets, self.least_noise = contexts, targets, least_noise
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
        return Categorical(memory["choice"].expand(*percept.last_reward.shape, -1)), self.observe(
            params, memory, percept
        )

    def draw(self, params: Params, memory: Memory, percept: Percept, generator: torch.Generator) -> Memory:
        seen = self.observe(params, memory, percept)
        M, B = percept.last_reward.shape
        K = self.believed(params, seen, generator)
        z = moments.standardised(params, "state", percept.observation).flatten(0, 1)
        p = memory["plan"].expand(M, B, -1, -1)
        uniform = torch.full_like(p[..., :1, :], 1 / self.num_actions)
        p = torch.where(
            percept.last_ended[..., None, None], 1 / self.num_actions, torch.cat([p[..., 1:, :], uniform], -2)
        )
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
        φ = φ.movedim(0, 1).reshape(*shape, self.members, -1)
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
            K = torch.cat(
                [each.sample(s, generator) for each, s in zip(both, (σ[..., :-1], σ[..., -1:]), strict=True)], -1
            )
        return K.to(seen["products"].dtype).transpose(0, 1).contiguous()

    def worth(
        self, params: Params, K: Float[Tensor, "E N F D1"], z: Float[Tensor, "N D"], actions: Int[Tensor, "N C H"]
    ) -> Float[Tensor, "N C"]:
        """J of sequences of actions that begin in the standardised states z."""
        E, (N, C, H), γ = self.members, actions.shape, self.discount
        φ = self.part(params, "features.")
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
            alive = alive * torch.sigmoid(-self.ends(params, x, z))
        return (total + γ**H * alive * self.value(params, z)).mean(0)

    def moved(self, params: Params, z: Tensor, change: Tensor) -> Tensor:
        """The standardised state after a standardised change."""
        step = change * moments.deviation(params, "change") + params["change.mean"]
        return (z + step / moments.deviation(params, "state")).clamp(-FARTHEST, FARTHEST)

    def ends(self, params: Params, before: Float[Tensor, "*X DA"], after: Float[Tensor, "*X D"]) -> Float[Tensor, "*X"]:
        """e: the log-odds that a step from a state and action to the expected next state ends the episode."""
        return self.e(self.part(params, "end."), torch.cat([before, after], -1), {})[0]["end"].squeeze(-1)

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

    def loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        model = self.model_loss(params, lifetimes, generator)
        value = self.value_loss(params, lifetimes)
        told = {"model_loss": model[0].detach(), "end_loss": model[1].detach(), "value_loss": value.detach()}
        return model[0] + model[1] + value, told

    def model_loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """−log p of steps to come, and the cross-entropy of the ends among them."""
        steps, length = self.steps(params, lifetimes), lifetimes.alive.sum(0)
        N, device = len(length), length.device
        n, σ = torch.arange(N, device=device).unsqueeze(-1), self.noise(params).unsqueeze(1)
        shares = self.shares(N, generator)
        z = moments.standardised(params, "state", lifetimes.observation[:-1].transpose(0, 1))
        before = torch.cat([z, one_hot(lifetimes.action.T, self.num_actions).to(z.dtype)], -1)
        surprise, ends = z.new_zeros(()), z.new_zeros(())
        for _ in range(self.contexts):
            u = torch.rand(N, 1 + self.targets, generator=generator, device=device)
            t = (length * u[:, :1].square().squeeze(-1)).long().unsqueeze(-1)  # short beginnings more often than long
            at = t + ((length.unsqueeze(-1) - t) * u[:, 1:]).long()  # [N, J], steps to come
            both = self.posteriors(params, *self.sums(steps, t))
            mean, spread = self.expected(both, steps.φ[n, :, at].transpose(1, 2))  # [N, E, J, D + 1]
            variance = σ.square() * (1 + spread)
            error = (steps.y[n, at].unsqueeze(1) - mean).square()
            nll = 0.5 * (error / variance + (2 * math.pi * variance).log()) * steps.counts[n, at].unsqueeze(1)
            surprise = surprise + (nll.sum(-1).mean(-1) * shares.T).mean()
            after = self.moved(params, z[n, at].unsqueeze(1), mean[..., :-1].detach())
            logit = self.ends(params, before[n, at].unsqueeze(1).expand(-1, self.members, -1, -1), after)
            ended = lifetimes.terminated.T[n, at].to(z.dtype).unsqueeze(1).expand_as(logit)
            ends = ends + binary_cross_entropy_with_logits(logit, ended)
        return surprise / self.contexts, ends / self.contexts

    def steps(self, params: Params, lifetimes: Rollout) -> "Steps":
        """What each step of N lifetimes teaches."""
        T, N = lifetimes.reward.shape
        s = lifetimes.observation[:-1]
        φ = self.featured(params, s.flatten(0, 1), lifetimes.action.flatten())
        y = self.outputs(params, s, lifetimes.observation[1:], lifetimes.reward)
        followed = (lifetimes.alive & ~lifetimes.ended).unsqueeze(-1).expand(-1, -1, self.size)
        counts = torch.cat([followed, lifetimes.alive.unsqueeze(-1)], -1).to(y.dtype)
        return Steps(φ.view(-1, T, N, self.features).permute(2, 0, 1, 3), y.transpose(0, 1), counts.transpose(0, 1))

    def sums(self, steps: "Steps", t: Int[Tensor, "N 1"]) -> tuple[Tensor, Tensor]:
        """The squares and products, see `observe`, after the first t steps of each lifetime."""
        φ, T = steps.φ.unsqueeze(2), steps.φ.shape[2]
        counts = steps.counts * (torch.arange(T, device=t.device) < t).unsqueeze(-1)
        which = counts[..., [0, -1]].mT[:, None, :, :, None]
        squares = (φ * which).mT @ φ  # [N, E, 2, F, F]
        return squares, steps.φ.mT @ (steps.y * counts).unsqueeze(1)

    def expected(self, both: tuple[Posterior, Posterior], φ: Float[Tensor, "*N J F"]) -> tuple[Tensor, Tensor]:
        """Kᵀ φ on average and its variance over σ², `[…, J, D + 1]` each."""
        of_change, of_reward = both
        mean = torch.cat([φ.double() @ each.mean for each in both], -1)
        spread = of_change.spread(φ.double()).unsqueeze(-1).expand(*φ.shape[:-1], self.size)
        return mean.to(φ.dtype), torch.cat([spread, of_reward.spread(φ.double()).unsqueeze(-1)], -1).to(φ.dtype)

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
