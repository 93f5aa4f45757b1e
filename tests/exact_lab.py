"""The exact laboratory: MDPs so small that every trajectory can be listed, so that expectations have no sampling noise.

    J(θ) = Σ_τ p(τ | θ) R(τ),        p(τ | θ) = Πₜ π_θ(aₜ | sₜ) P(sₜ₊₁ | sₜ, aₜ),        R(τ) = Σₜ γᵗ rₜ

J can be differentiated as often as one likes: that is the truth. Training computes the loss L(θ; τ) of the τ that
happened and differentiates it with τ fixed. The expectations of its derivatives are the derivatives of Σ_τ ⊥p(τ | θ)
L(θ; τ), where ⊥ holds p constant, and their variances are sums over τ, too. All is float64. L comes from the package's
own learners and algorithms, with every trajectory as one entry of the leading axis; J from the definition above.

    truth                                  what training computes
    ∇J(θ), ∇²J(θ)                          −∇L(θ; τ), −∇²L(θ; τ)
    ∇J(φ_K), φₖ₊₁ = φₖ + α ∇J(φₖ)          MAML as if of infinitely many episodes per step: −⊥E L in the place of J
    ∇E_τ[J(φ_K(θ, τ))], φₖ₊₁ = φₖ − α ∇L   MAML as it runs, adapting to B episodes τₖ in step k
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import torch
from torch import Tensor
from torch.autograd.functional import jacobian
from torch.nn.functional import one_hot

from metarl_run.algo.gradient.base import MetaBatch
from metarl_run.algo.maml import MAML
from metarl_run.algo.meta_optimizer.sgd import SGD
from metarl_run.learner.actor_critic import ActorCritic
from metarl_run.learner.policy_gradient import PolicyGradient
from metarl_run.learner.reinforce import Reinforce
from metarl_run.network.base import Network
from metarl_run.network.mlp import MLP
from metarl_run.network.table import Table
from metarl_run.types import AgentState, Memory, Params, Rollout

INNER_LR = 0.5

# --- Every trajectory ---


@dataclass(frozen=True, eq=False)
class MDP:
    """A tabular MDP that starts in state 0.

    Attributes:
        transition: P(s′ | s, a), `[S, A, S]`; what a row lacks to 1 is the probability that the MDP ends there.
        reward: r(s, a), `[S, A]`.
        horizon: steps after which an episode is truncated.
        discount: γ.
    """

    transition: Tensor
    reward: Tensor
    horizon: int
    discount: float

    @property
    def num_states(self) -> int:
        return self.reward.shape[0]

    @property
    def num_actions(self) -> int:
        return self.reward.shape[1]

    def paths(self, last_state: bool, s: int = 0, t: int = 0) -> Iterator[tuple[list[tuple[int, int, bool]], float]]:
        """Every way to go on from state s at step t: (state, action, terminated) of each step, and its Π P.

        Args:
            last_state: a path goes on to the state that its last step led to, as a row without a step.
            s, t: where it begins.
        """
        if t == self.horizon:
            yield [(s, 0, False)], 1.0
            return
        for a in range(self.num_actions):
            if t == self.horizon - 1 and not last_state:
                yield [(s, a, False)], 1.0
                continue
            following = self.transition[s, a].tolist()
            for s_next, p in enumerate(following):
                for rest, p_rest in self.paths(last_state, s_next, t + 1):
                    yield [(s, a, False), *rest], p * p_rest
            if (end := 1 - sum(following)) > 1e-12:
                yield [(s, a, True)], end


def random_mdp(
    seed: int, *, num_states: int = 3, num_actions: int = 2, horizon: int = 3, discount: float = 0.9, ends: bool = False
) -> MDP:
    """P(· | s, a) ~ Dirichlet(1, …, 1), r(s, a) ~ N(0, 1).

    Args:
        seed: of the only generator used.
        num_states, num_actions, horizon, discount: of the MDP.
        ends: it may end at any step, with a probability of its own, uniform in [0, 1], for each (s, a).
    """
    g = torch.Generator().manual_seed(seed)
    S, A = num_states, num_actions
    transition = torch.rand(S, A, S, generator=g, dtype=torch.float64).log().neg()
    transition = transition / transition.sum(-1, keepdim=True)
    reward = torch.randn(S, A, generator=g, dtype=torch.float64)
    if ends:
        transition = transition * torch.rand(S, A, 1, generator=g, dtype=torch.float64)
    return MDP(transition, reward, horizon, discount)


class Experience(NamedTuple):
    """Every possible rollout of B episodes.

    Attributes:
        rollout: `[E, T, B]`, the E possibilities in the place of tasks.
        dynamics: the factors of their probabilities that θ has no part in, Π P(s′ | s, a), `[E]`.
    """

    rollout: Rollout
    dynamics: Tensor

    def at(self, index: Tensor) -> "Experience":
        fields = (field[index] for field in self.rollout.of_steps)
        return Experience(Rollout(*fields, memory={}), self.dynamics[index])


@functools.cache
def every_experience(mdp: MDP, episodes: int = 1, last_state: bool = False) -> Experience:
    """All combinations of `episodes` trajectories, in slots of their own.

    Args:
        mdp: what is lived in.
        episodes: B.
        last_state: list, too, where the last step led: only a learned critic looks at that.
    """
    paths, chances = zip(*mdp.paths(last_state), strict=True)
    N, T = len(paths), mdp.horizon
    state, action = torch.zeros(2, N, T + 1, 1, dtype=torch.int64)
    known, terminated = torch.zeros(2, N, T + 1, 1, dtype=torch.bool)
    for i, path in enumerate(paths):
        for t, (s, a, end) in enumerate(path):
            state[i, t], action[i, t], terminated[i, t], known[i, t] = s, a, end, True
    alive, truncated = known[:, :T], torch.zeros(N, T, 1, dtype=torch.bool)
    truncated[:, -1] = alive[:, -1] & ~terminated[:, T - 1]
    single = Rollout(
        observation=one_hot(state, mdp.num_states).double(),  # padding looks like state 0, as after a reset
        action=action[:, :T],
        reward=mdp.reward[state, action][:, :T] * alive,
        terminated=terminated[:, :T],
        truncated=truncated,
        alive=alive,
        memory={},
    )
    choice = ways(N, episodes)  # [E, B]
    fields = (torch.cat([field[choice[:, b]] for b in range(episodes)], 2) for field in single[:-1])
    dynamics = torch.tensor(chances, dtype=torch.float64)[choice].prod(-1)
    return Experience(Rollout(*fields, memory={}), dynamics)


def ways(n: int, times: int) -> Tensor:
    """All ways to choose one of n so many times, `[n ** times, times]`."""
    return torch.cartesian_prod(*[torch.arange(n)] * times).view(-1, times)


# --- The truth ---


class Lab:
    """One MDP, one kind of policy, and the truth about them as functions of θ, a vector `[…, P]`.

    Args:
        mdp: what is lived in.
        network: makes logits, head `policy`, from the one-hot state; by default a table of them.
    """

    def __init__(self, mdp: MDP, network: Network | None = None) -> None:
        self.mdp = mdp
        heads = {"policy": mdp.num_actions}
        self.network = network or Table(num_inputs=mdp.num_states, heads=heads, initial_value=0.0)
        self.shapes = {name: p.shape for name, p in self.network.init(torch.Generator()).items()}
        self.trajectories = every_experience(mdp)

    @property
    def num_params(self) -> int:
        return sum(shape.numel() for shape in self.shapes.values())

    def initial_params(self, seed: int) -> Tensor:
        """θ as meta-training starts with it, from the stream of `random_params`."""
        params = self.network.init(torch.Generator().manual_seed(2**31 + seed))
        return torch.cat([params[name].flatten() for name in self.shapes]).double()

    def random_params(self, seed: int) -> Tensor:
        """θ ~ N(0, 1), from another stream than the MDP of the same seed."""
        g = torch.Generator().manual_seed(2**31 + seed)
        return torch.randn(self.num_params, generator=g, dtype=torch.float64)

    def params(self, θ: Tensor) -> Params:
        """θ by name, with its leading axes."""
        parts = θ.split([shape.numel() for shape in self.shapes.values()], -1)
        return {n: p.reshape(*θ.shape[:-1], *s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}

    def log_policy(self, params: Params, observation: Tensor) -> Tensor:
        return self.network(params, observation, {})[0]["policy"].log_softmax(-1)

    def probability(self, params: Params, experience: Experience) -> Tensor:
        """p of each possible rollout, `[E]`; parameters may be one policy's or a stack `[E, …]`."""
        rollout = experience.rollout
        log_π = self.log_policy(params, rollout.observation)[..., :-1, :, :]
        taken = log_π.gather(-1, rollout.action.unsqueeze(-1)).squeeze(-1)
        return experience.dynamics * (taken * rollout.alive).sum((-2, -1)).exp()

    def expected_return(self, θ: Tensor) -> Tensor:
        """J(θ), summed over trajectories; θ is one vector."""
        γ = self.mdp.discount ** torch.arange(self.mdp.horizon, dtype=torch.float64)
        R = (self.trajectories.rollout.reward.squeeze(-1) * γ).sum(-1)
        return (self.probability(self.params(θ), self.trajectories) * R).sum()

    def values(self, params: Params) -> Tensor:
        """Vₜ(s) of a policy or a stack of them, by dynamic programming: `[…, T + 1, S]`, the last row 0."""
        S, task_axes = self.mdp.num_states, next(iter(params.values())).shape[:-2]
        π = self.log_policy(params, torch.eye(S, dtype=torch.float64).expand(*task_axes, S, S)).exp()
        r = torch.einsum("...sa,sa->...s", π, self.mdp.reward)
        P = torch.einsum("...sa,san->...sn", π, self.mdp.transition)
        V = [torch.zeros_like(r)]
        for _ in range(self.mdp.horizon):
            V.insert(0, r + self.mdp.discount * torch.einsum("...sn,...n->...s", P, V[0]))
        return torch.stack(V, -2)

    def adapted(self, θ: Tensor, gain: Callable[[Tensor], Tensor], *, steps: int, first_order: bool = False) -> Tensor:
        """φ_K, φₖ₊₁ = φₖ + α ∇gain(φₖ)."""
        for _ in range(steps):
            (g,) = torch.autograd.grad(gain(θ), θ, create_graph=True)
            θ = θ + INNER_LR * (g.detach() if first_order else g)
        return θ

    def meta_gradient(
        self, θ: Tensor, gain: Callable[[Tensor], Tensor], *, steps: int = 1, first_order: bool = False
    ) -> Tensor:
        """∇_θ gain(φ_K) through all K steps: the truth if gain is J, MAML of infinitely many episodes if −⊥E L."""
        θ = θ.detach().requires_grad_()
        (g,) = torch.autograd.grad(gain(self.adapted(θ, gain, steps=steps, first_order=first_order)), θ)
        return g


class PlainMLP(MLP):
    """The package's MLP of plain operations: vmap cannot follow the derivatives that the package writes out itself."""

    def _trunk(self, head: str, params: Params, x: Tensor) -> Tensor:
        last = len(self.widths[head]) - 2
        for layer in range(last + 1):
            x = x @ params[f"{head}.{layer}.weight"] + params[f"{head}.{layer}.bias"]
            x = x if layer == last else self.activation(x)
        return x


def tanh_mlp(hidden: Sequence[int], *, num_states: int = 3, num_actions: int = 2) -> PlainMLP:
    """Logits from one-hot states through layers of tanh units."""
    heads = {"policy": num_actions}
    return PlainMLP(num_inputs=num_states, heads=heads, hidden=list(hidden), activation="tanh")


class ExactCritic(Network):
    """A policy network with a head `value` besides: the values of that very policy, known exactly."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def init(self, generator: torch.Generator) -> Params:
        return self.lab.network.init(generator)

    def head_names(self) -> frozenset[str]:
        return self.lab.network.head_names()

    def __call__(self, params: Params, x: Tensor, memory: Memory) -> tuple[Mapping[str, Tensor], Memory]:
        output, memory = self.lab.network(params, x, memory)
        with torch.no_grad():
            V = self.lab.values(params)
        return {**output, "value": (x * V.unsqueeze(-2)).sum(-1, keepdim=True)}, memory


# --- What training computes ---


class Sampled(NamedTuple):
    """All values that a random tensor takes, `[E, …]`, and how probable each is, `[E]`."""

    probability: Tensor
    value: Tensor

    @property
    def mean(self) -> Tensor:
        return torch.einsum("e,e...->...", self.probability, self.value)

    @property
    def variance(self) -> Tensor:
        """Of each entry."""
        return torch.einsum("e,e...->...", self.probability, (self.value - self.mean) ** 2)


class Estimator:
    """A configured MAML and all that can happen to it.

    Args:
        lab: where it lives.
        surrogate: of the learner.
        baseline: `value` is an actor-critic that knows V exactly, `critic` one whose V is the network's head `value`,
            both with λ = 1; the others are REINFORCE's.
        episodes: B, of every rollout.
        steps: K.
        learner: what differs from the settings under which the surrogates are documented.
        algo: arguments of MAML that differ from the plain one's.
    """

    def __init__(
        self,
        lab: Lab,
        surrogate: str,
        *,
        baseline: str = "none",
        episodes: int = 1,
        steps: int = 1,
        learner: Mapping[str, Any] | None = None,
        **algo: Any,
    ) -> None:
        self.lab = lab
        self.experience = every_experience(lab.mdp, episodes, last_state=baseline == "critic")
        common = {
            "action_space": gymnasium.spaces.Discrete(lab.mdp.num_actions),
            "surrogate": surrogate,
            "discount": lab.mdp.discount,
            "discount_steps": True,
            "standardise": False,
            "average": "episodes",
            "policy": "auto",
            "initial_deviation": 1.0,
        }
        if baseline in ("value", "critic"):
            value = {"lifetime_discount": 0.0, "value_scale": 1.0, "gae_lambda": 1.0, "value_weight": 0.0}
            critic = {**value, "entropy_weight": 0.0}
            chosen = ActorCritic(**common | critic | dict(learner or {}))
        else:
            chosen = Reinforce(**common | {"baseline": baseline} | dict(learner or {}))
        self.algo = MAML(
            **{
                "learner": chosen,
                "network": ExactCritic(lab) if baseline == "value" else lab.network,
                "meta_params": lab.params(torch.zeros(lab.num_params, dtype=torch.float64)),
                "adaptation_steps": steps,
                "inner_lr": INNER_LR,
                "first_order": False,
                "head_only": False,
                "sampling_correction": False,
                "meta_optimizer": SGD(lr=1.0, max_grad_norm=1.0),
            }
            | algo
        )

    # --- Of one rollout of B episodes ---

    def expected_gain(self, θ: Tensor) -> Tensor:
        """−Σ_τ ⊥p(τ | θ) L(θ; τ): its derivatives are the expectations of −L's."""
        params = self.lab.params(θ)
        losses, _ = self.algo.loss(params, self.experience.rollout)
        return -(self.lab.probability(params, self.experience).detach() * losses).sum()

    def gradients(self, θ: Tensor) -> Sampled:
        """−∇L(θ; τ), `[E, P]`."""
        return self.derivatives(θ)[0]

    def hessians(self, θ: Tensor) -> Sampled:
        """−∇²L(θ; τ), `[E, P, P]`."""
        return self.derivatives(θ)[1]

    def derivatives(self, θ: Tensor) -> tuple[Sampled, Sampled]:
        """Both."""
        stack = self._stack(θ, len(self.experience.dynamics))
        params = self.lab.params(stack)
        losses, _ = self.algo.loss(params, self.experience.rollout)
        (gradient,) = torch.autograd.grad(losses.sum(), stack, create_graph=True)
        rows = [torch.autograd.grad(column.sum(), stack, retain_graph=True)[0] for column in gradient.unbind(-1)]
        p = self.lab.probability(params, self.experience).detach()
        return Sampled(p, -gradient.detach()), Sampled(p, -torch.stack(rows, -2))

    # --- Of one lifetime: K rollouts to adapt to, and one to learn from ---

    def meta_gradients(self, θ: Tensor, *, tasks: int = 1, of_many: bool = False) -> Sampled:
        """What `meta_update` hands to its optimiser, negated, in every possible meta-batch, `[X, P]`.

        Args:
            θ: one vector.
            tasks: M, all of them in the lab's MDP; X grows with E^(M (K + 1)).
            of_many: the tasks are part of a meta-batch of infinitely many, whose σ has no sampling noise.
        """
        K, M = self.algo.adaptation_steps, tasks
        index = self._choices(M * (K + 1)).view(-1, K + 1)
        X = len(index) // M
        stack = self._stack(θ, len(index))
        agents, rollouts, p = self._lives(self.lab.params(stack), index[:, :-1])
        query = self.experience.at(index[:, -1])
        rollouts, p = [*rollouts, query.rollout], p * self.lab.probability(agents[-1].params, query)

        batch = self._infinite_batch(agents[-1], query.rollout, p.detach()) if of_many else None

        def meta_loss(params: list[Params], records: list[list[Tensor]]) -> Tensor:
            lived = [AgentState(φ, {}) for φ in params], [Rollout(*fields, memory={}) for fields in records]
            return self.algo.meta_losses(*lived, batch=batch)[0].mean()

        # Each meta-batch by itself: the entries of the enumeration are alternatives, not tasks of one batch.
        by_batch = [{name: φ.view(X, M, *φ.shape[1:]) for name, φ in agent.params.items()} for agent in agents]
        records = [[x.view(X, M, *x.shape[1:]) for x in rollout.of_steps] for rollout in rollouts]
        losses = torch.vmap(meta_loss)(by_batch, records)
        (gradient,) = torch.autograd.grad(losses.sum(), stack)
        return Sampled(p.detach().view(X, M).prod(-1), -gradient.view(X, M, -1).sum(1))

    def expected_meta_gradient(self, θ: Tensor) -> Tensor:
        """The mean of `meta_gradients` without a sampling correction: −⊥E L of the query is J, to first order, exactly.

            E_τ[∇_θ J(φ_K(θ, τ))], τ as given

        Without an enumeration of queries it reaches more episodes B: E^K entries in the place of E^(K + 1).
        """
        index = self._choices(self.algo.adaptation_steps)
        stack = self._stack(θ, len(index))
        agents, _, p = self._lives(self.lab.params(stack), index)
        J = self.lab.values(agents[-1].params)[:, 0, 0]
        (gradient,) = torch.autograd.grad((p.detach() * J).sum(), stack)
        return gradient.sum(0)

    def _infinite_batch(self, agent: AgentState, query: Rollout, p: Tensor) -> MetaBatch:
        """The constants of a meta-batch that holds each possible lifetime in proportion to its probability."""
        learner = self.algo.learner
        assert isinstance(learner, PolicyGradient)
        output = self.algo.output(agent.params, query)
        returns, baseline = learner.returns_and_baseline(output, query)
        normaliser = learner.shared_normaliser([(returns, baseline, query)])
        if learner.standardise:
            A = returns - baseline
            mean = (A * query.alive).sum((-2, -1)) / query.alive.sum((-2, -1))
            squares = ((A - mean[:, None, None]) ** 2 * query.alive).sum((-2, -1))
            variance = (p * squares).sum() / (p * query.alive.sum((-2, -1))).sum()
            normaliser = normaliser._replace(std=variance.sqrt())
        return MetaBatch([query], normaliser)

    def return_after_adaptation(self, θ: Tensor) -> Tensor:
        """E_τ[J(φ_K(θ, τ))], what MAML as it runs is worth; differentiable if L's own derivative is, as score's is."""
        index = self._choices(self.algo.adaptation_steps)
        agents, _, p = self._lives(self.lab.params(θ.expand(len(index), -1)), index)
        return (p * self.lab.values(agents[-1].params)[:, 0, 0]).sum()

    def true_sampling_term(self, θ: Tensor) -> Tensor:
        """E_τ[J(φ_K(θ, τ)) ∇_θ log p(τ | θ)]: what the true meta-gradient has beyond that at given experience."""

        def at_given_experience(θ: Tensor) -> Tensor:
            index = self._choices(self.algo.adaptation_steps)
            agents, _, p = self._lives(self.lab.params(θ.expand(len(index), -1)), index)
            return (p.detach() * self.lab.values(agents[-1].params)[:, 0, 0]).sum()

        return self.true_meta_gradient(θ) - jacobian(at_given_experience, θ)

    def true_meta_gradient(self, θ: Tensor) -> Tensor:
        """∇_θ E_τ[J(φ_K(θ, τ))]; only with surrogate score."""
        return jacobian(self.return_after_adaptation, θ)

    def _lives(self, params: Params, index: Tensor) -> tuple[list[AgentState], list[Rollout], Tensor]:
        """φ₀, …, φ_K of agents that adapt to the rollouts that `index` `[X, K]` names, and their probability `[X]`."""
        agents, rollouts, p = [AgentState(params, {})], [], torch.ones(len(index), dtype=torch.float64)
        for chosen in index.unbind(-1):
            experience = self.experience.at(chosen)
            p = p * self.lab.probability(agents[-1].params, experience)
            rollouts.append(experience.rollout)
            agents.append(self.algo.adapt(agents[-1], rollouts[-1]))
        return agents, rollouts, p

    def _choices(self, times: int) -> Tensor:
        """All ways to choose so many rollouts, `[X, times]`."""
        return ways(len(self.experience.dynamics), times)

    def _stack(self, θ: Tensor, copies: int) -> Tensor:
        return θ.detach().expand(copies, -1).clone().requires_grad_()
