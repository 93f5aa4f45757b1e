"""Dynamics model of finite state spaces: meta-learned priors, posteriors by counting."""

import math
from typing import Any, ClassVar

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from metarl_run.algo.planning import running_statistics as running
from metarl_run.algo.planning.base import DynamicsModel
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count, NonNegative, Positive, Widths
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.network.mlp import MLP
from metarl_run.types import Memory, Params, Percept, Rollout

COUNTS = ("transitions", "visits", "total_reward", "arrivals", "arrival_reward")
"""n(s, a, s′), n(s, a), Σ r of (s, a), and of all transitions to s′: their number, Σ r."""

FEATURES = 7
"""Inputs of the network for one state and action."""


class TabularDynamics(DynamicsModel):
    """Posteriors over every row P(· | s, a) and every mean reward, by counting; their priors are meta-learned.

        P̂(s′ | s, a) = (α(s, a, s′) + n(s, a, s′)) / Σₛ″ (α(s, a, s″) + n(s, a, s″))
        r̂ₑ(s, a) = (wₑ μₑ + Σ r) / (wₑ + n),        a reward ~ N(r̂ₑ, σₑ² (1 + 1 / (wₑ + n)))
        μₑ(s, a) = m(s, a) + f_e(x(s, a)),        wₑ(s, a) = softplus(g_e(x(s, a)))

    α and m are tables. f and g are outputs of one network per ensemble member; its inputs x summarise the counts of
    (s, a) and of the whole task. It is the same function for every (s, a): f and g are equivariant to permutations of
    states and actions. Members weigh lifetimes differently in learning. At every step the agent acts greedily on the
    optimal values, for the remaining steps of the episode, of

        r(s, a) = meanₑ r̂ₑ + β √(meanₑ σₑ² / (wₑ + n) + varianceₑ r̂ₑ),        P̂

    The last step of an episode has a reward but no observed successor; so the model contains no terminations. Rewards
    are normalised by running statistics of meta-training.

    Args:
        family: gives the horizon.
        observation_space: observations of the task family: the state, one-hot.
        action_space: actions of the task family.
        hidden: units of each hidden layer of f and g.
        optimism: β ≥ 0.
        contexts: prefixes per lifetime and optimiser step that the rest is predicted from.
        least_deviation: lower bound of σₑ, in units of the rewards' standard deviation.

    Source: DeGroot (1970), Optimal Statistical Decisions, for the posteriors; Zaheer et al.
    (2017), arXiv:1703.06114, for f and g; Chua et al. (2018), arXiv:1805.12114, for the ensemble.
    """

    START_WEIGHT, LEAST_WEIGHT = 0.5, 1e-3  # of w: softplus(½) ≈ 1, the weight of one observed reward
    measured: ClassVar[frozenset[str]] = running.names("reward")

    family: TaskFamily
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    hidden: Widths
    optimism: NonNegative
    contexts: Count
    least_deviation: Positive

    def __post_init__(self) -> None:
        super().__post_init__()
        self.num_states, self.num_actions = self.observation_space.shape[0], num_actions(self.action_space)
        self.horizon = self.family.horizon
        self.network = MLP(num_inputs=FEATURES, heads={"prior": 2}, hidden=self.hidden, activation="tanh")

    def init(self, generator: torch.Generator) -> Params:
        S, A, E = self.num_states, self.num_actions, self.members
        device = generator.device
        networks = [self.network.init(generator) for _ in range(E)]
        return {
            **{name: torch.stack([θ[name] for θ in networks]) for name in networks[0]},
            "log_concentration": torch.zeros(S, A, S, device=device),
            "prior_mean": torch.zeros(S, A, device=device),
            "log_deviation": torch.zeros(E, 1, device=device),
            **running.fresh("reward", 1, device),
        }

    def initial_memory(self, params: Params, num_tasks: int) -> Memory:
        S, A = self.num_states, self.num_actions
        zeros = params["reward.mean"].new_zeros(num_tasks, 1)
        shapes = ((S, A, S), (S, A), (S, A), (S,), (S,))
        counts = {name: zeros.new_zeros(num_tasks, 1, *shape) for name, shape in zip(COUNTS, shapes, strict=True)}
        return {**counts, "state": zeros.long(), "step": zeros.long(), "lived": zeros.long()}

    # --- Acting ---

    def act(self, params: Params, memory: Memory, percept: Percept) -> tuple[Categorical, Memory]:
        seen = self.observe(params, memory, percept)
        M, B = seen["state"].shape
        transition, mean, std = self.decode(params, {name: seen[name].flatten(0, 1) for name in COUNTS})
        q = finite_horizon_q(transition, mean + self.optimism * std, horizon=self.horizon)  # [M B, H, S, A]
        place = (seen["step"] - 1).clamp(max=self.horizon - 1) * self.num_states + seen["state"]
        now = q.flatten(1, 2).gather(1, place.view(-1, 1, 1).expand(-1, 1, self.num_actions)).view(M, B, -1)
        return Categorical(torch.where(now == now.amax(-1, keepdim=True), 0.0, -math.inf)), seen

    def observe(self, params: Params, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports."""
        shape, ended = percept.last_reward.shape, percept.last_ended
        old = {name: x.expand(*shape, *x.shape[2:]) for name, x in memory.items()}
        state = percept.observation.argmax(-1)
        happened = (old["lived"] > 0).to(percept.last_reward.dtype)
        steps = (x.flatten().unsqueeze(-1) for x in (old["state"], percept.last_action, state))
        r = running.normalised(params, "reward", percept.last_reward) * happened
        more = self.counted(*steps, *(x.flatten().unsqueeze(-1) for x in (r, happened, happened * ~ended)))
        counts = {name: old[name] + more[name].view(old[name].shape) for name in COUNTS}
        step = torch.where(ended, 0, old["step"]) + 1
        return {**counts, "state": state, "step": step, "lived": old["lived"] + 1}

    # --- Posteriors ---

    def counted(
        self, state: Tensor, action: Tensor, after: Tensor, reward: Tensor, happened: Tensor, followed: Tensor
    ) -> dict[str, Tensor]:
        """The counts of steps, `[N, T]` each.

        Args:
            state, action, after, reward: s, a, s′ and r; r is 0 where nothing happened.
            happened: 1 where the step counts, else 0.
            followed: 1 where s′ counts as well, else 0.
        """
        N, S, A = len(state), self.num_states, self.num_actions
        pair = state * A + action

        def sums(places: int, at: Tensor, amount: Tensor) -> Tensor:
            return amount.new_zeros(N, places).scatter_add_(1, at, amount)

        return {
            "transitions": sums(S * A * S, pair * S + after, followed).view(N, S, A, S),
            "visits": sums(S * A, pair, happened).view(N, S, A),
            "total_reward": sums(S * A, pair, reward).view(N, S, A),
            "arrivals": sums(S, after, followed),
            "arrival_reward": sums(S, after, reward * followed),
        }

    def decode(
        self, params: Params, counts: dict[str, Tensor]
    ) -> tuple[Float[Tensor, "N S A S"], Float[Tensor, "N S A"], Float[Tensor, "N S A"]]:
        """P̂, the expected reward and its standard deviation, of N lifetimes."""
        transition = self.transition(params, counts)
        mean, weight, σ = self.rewards(params, counts, transition)
        variance = (σ.square() / (weight + counts["visits"])).mean(0) + mean.var(0, correction=0)
        return transition, mean.mean(0), variance.sqrt()

    def transition(self, params: Params, counts: dict[str, Tensor]) -> Float[Tensor, "N S A S"]:
        """P̂."""
        α = params["log_concentration"].exp() + counts["transitions"]
        return α / α.sum(-1, keepdim=True)

    def rewards(
        self, params: Params, counts: dict[str, Tensor], transition: Tensor
    ) -> tuple[Float[Tensor, "E N S A"], Float[Tensor, "E N S A"], Float[Tensor, "E 1 1 1"]]:
        """r̂ₑ, wₑ and σₑ."""
        x = self.features(counts, transition.detach())
        N, S, A, _ = x.shape
        network = {name: θ for name, θ in params.items() if name.startswith("prior.")}
        out = self.network(network, x.reshape(1, N * S * A, -1).expand(self.members, -1, -1), {})[0]["prior"]
        shift, weight = out.view(self.members, N, S, A, 2).unbind(-1)
        w = softplus(weight + self.START_WEIGHT) + self.LEAST_WEIGHT
        μ = params["prior_mean"] + shift
        mean = (w * μ + counts["total_reward"]) / (w + counts["visits"])
        return mean, w, params["log_deviation"].exp().clamp(min=self.least_deviation).view(-1, 1, 1, 1)

    def features(self, counts: dict[str, Tensor], transition: Tensor) -> Float[Tensor, "N S A F"]:
        """x(s, a): summaries of its own counts, of the states that it leads to, and of the task."""
        n, arrived = counts["visits"], counts["arrivals"]
        known, share = n / (n + 1), counts["total_reward"] / (n + 1)
        of_arrivals = torch.stack([arrived / (arrived + 1), counts["arrival_reward"] / (arrived + 1)], -1)
        ahead = transition.flatten(1, 2) @ of_arrivals
        own = torch.stack([known, share, *ahead.view(*n.shape, 2).unbind(-1)], -1)
        task = torch.stack([known.mean((1, 2)), share.mean((1, 2)), share.amax((1, 2))], -1)
        return torch.cat([own, task[:, None, None].expand(*n.shape, -1)], -1)

    # --- Learning ---

    def measure(self, params: Params, lifetimes: Rollout) -> None:
        running.follow(params, "reward", lifetimes.reward.unsqueeze(-1), lifetimes.alive)

    def loss(self, params: Params, lifetimes: Rollout, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        T, N = lifetimes.reward.shape
        alive = lifetimes.alive.T.to(lifetimes.reward.dtype)
        followed = alive * ~lifetimes.ended.T
        states = lifetimes.observation.argmax(-1).T
        r = running.normalised(params, "reward", lifetimes.reward.T) * alive
        steps = (states[:, :-1], lifetimes.action.T, states[:, 1:])
        weight = self.bootstrap_weights(N, generator)
        transition_loss, reward_loss = torch.zeros_like(r[0, 0]), torch.zeros_like(r[0, 0])
        begun = torch.arange(T, device=r.device)
        length = lifetimes.alive.sum(0).unsqueeze(-1)
        for _ in range(self.contexts):
            t = (length * torch.rand(N, 1, generator=generator, device=r.device)).long()
            past, future = (begun < t).to(r.dtype), (begun >= t).to(r.dtype)
            known = self.counted(*steps, r * past, alive * past, followed * past)
            coming = self.counted(*steps, r * future, alive * future, followed * future)
            squares = self.counted(*steps, r * r * future, alive * future, followed * future)["total_reward"]
            P = self.transition(params, known)
            transition_loss -= (coming["transitions"] * P.log()).sum() / followed.sum().clamp(min=1)
            mean, w, σ = self.rewards(params, known, P)
            n, variance = coming["visits"], σ.square() * (1 + 1 / (w + known["visits"]))
            errors = squares - 2 * mean * coming["total_reward"] + mean.square() * n
            nll = 0.5 * (errors / variance + n * (2 * math.pi * variance).log()).sum((2, 3))
            reward_loss += (nll * weight).sum() / (self.members * alive.sum())
        metrics = {"transition_loss": transition_loss.detach() / self.contexts, "reward_loss": reward_loss.detach()}
        return (transition_loss + reward_loss) / self.contexts, metrics
