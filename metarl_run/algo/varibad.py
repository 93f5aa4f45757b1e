"""VariBAD: a policy conditioned on an approximate posterior over tasks."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.memory.annealing import Annealing
from metarl_run.algo.memory.decoder import Decoder, with_large_heads
from metarl_run.algo.memory.distillation import probabilities
from metarl_run.algo.memory.elbo import ELBO
from metarl_run.algo.memory.encoder import Encoder
from metarl_run.algo.memory.outer_update import Outer, with_end
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.rl2 import BEFORE, MakeNetwork
from metarl_run.component import field
from metarl_run.kinds import Count, Fraction, NonNegative, Positive, Whole, Widths
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import action_size
from metarl_run.learner.inputs import encoded, encoded_size, observation_size, transition
from metarl_run.maths.distributions import Distribution
from metarl_run.maths.returns import masked_mean
from metarl_run.network.base import Network
from metarl_run.network.constants import WithConstants
from metarl_run.network.mlp import MLP
from metarl_run.network.state_network import StateNetwork
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout


class VariBAD(MetaLearner):
    """Infer a belief over a latent description m of the task, and condition the policy on it.

        start:  q₀ = N(0, I)
        adapt:  qₜ = q_φ(m | τ_{:t}),    aₜ ~ π_ψ(· | sₜ, qₜ)        q carries over between episodes
        learn:  ψ by the outer learner, which treats a lifetime of n episodes as one episode
                φ by ELBOₜ = E_{m ~ qₜ}[log p(τ | m)] − w KL(qₜ ‖ qₜ₋₁), where τ is the whole lifetime

    The policy's loss has no gradient with respect to φ, and the ELBO (`metarl_run.algo.memory.elbo`) has none with
    respect to ψ.

    Args:
        learner: the outer learner; its epochs are passes over the lifetimes of one meta-iteration.
        make_network: constructs the encoder q_φ.
        observation_space: of the task family.
        action_space: of the task family.
        streams: random streams of the initial parameters and of ε.
        episodes: n ≥ 1, per lifetime in meta-training.
        latent: L, size of m.
        policy_hidden: units of each hidden layer of the policy.
        policy_activation: of its hidden layers.
        decoder_hidden: units of each hidden layer of the reward decoder and of the state decoder.
        decoder_activation: of their hidden layers.
        state_weight: wₛ ≥ 0; 0 leaves out the state decoder, for families whose tasks differ in rewards alone.
        kl_weight: w ≥ 0.
        belief_steps: optimiser steps on the ELBO per meta-iteration.
        belief_lifetimes: maximum number of lifetimes per such step; the next step takes others.
        belief_times: maximum number of time steps t of each lifetime per such step.
        minibatches: optimiser steps of the policy per pass.
        max_kl: limit on the policy's KL divergence per meta-iteration, nats.
        meta_optimizer: updates ψ.
        belief_optimizer: updates φ and the decoder.
        encoding: of the encoder's input: `step`, or with the last `transition`, as in `metarl_run.algo.rl2`.
        policy_read: `input`, the policy is a network of hidden layers on (s, q); `observation`, it reads q by the
            state, see `metarl_run.network.read`.
        decoder_read: `input`, the reward decoder is a network of hidden layers on (m, s, a, s′); `observation`, it is a
            table of all pairs (s, a), and reads m by the state.
        read_width: numbers read in a state, by the observation.
        read_units: of the layer between these and what is read for.
        final_lr: ψ's step size in the last meta-iteration, approached geometrically; None keeps that of
            `meta_optimizer`.
        final_entropy_weight: of the last meta-iteration, approached linearly; None keeps the learner's.
        final_discount: γ of the last meta-iteration, approached linearly; None keeps the learner's.
        meta_iterations: number of meta-updates over which these change.

    Differs from the paper: the ELBO uses the lifetimes of this meta-iteration, not a buffer of earlier ones; at the end
    of an episode the encoder reads the first observation of the next one, not the last of this one; rewards are
    Gaussian (Bernoulli in the paper's grid); inputs are not embedded first, and the heads of a recurrent encoder read
    them through a linear shortcut past the memory, see `metarl_run.network.recurrent`. The paper has nothing of
    `encoding`, `policy_read`, `decoder_read` and the final values, though its decoder for the grid is a table too, of
    all cells s′: experiment=varibad_mdp_n10_read and experiment=varibad_gridworld_read are variants with them.
    Source: Zintgraf et al. (2020), arXiv:1910.08348.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers", "observation_first")
    requires: ClassVar[tuple[str, ...]] = ("memory", "critic")
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "encoding": {"transition": ("tabular",)},
        "policy_read": {"observation": ("tabular",)},
        "decoder_read": {"observation": ("tabular", "discrete_actions")},
    }
    advice: ClassVar[dict[str, str]] = {"episodes": "a lifetime has at least one episode"}
    remembers: ClassVar[bool] = True
    keeps_policy: ClassVar[bool] = True

    learner: Critic
    make_network: MakeNetwork
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    streams: Streams
    episodes: Count
    latent: Count
    policy_hidden: Widths
    policy_activation: Literal["tanh", "relu"]
    decoder_hidden: Widths
    decoder_activation: Literal["tanh", "relu"]
    state_weight: NonNegative
    kl_weight: NonNegative
    belief_steps: Count
    belief_lifetimes: Count
    belief_times: Count
    minibatches: Count
    max_kl: Positive
    meta_params: Params = field(init=False)
    meta_optimizer: GradientRule
    belief_optimizer: GradientRule
    encoding: Literal["step", "transition"] = field(default="step")
    policy_read: Literal["input", "observation"] = field(default="input")
    decoder_read: Literal["input", "observation"] = field(default="input")
    read_width: Count = field(default=16)
    read_units: Count = field(default=64)
    final_lr: Positive | None = field(default=None)
    final_entropy_weight: NonNegative | None = field(default=None)
    final_discount: Fraction | None = field(default=None)
    meta_iterations: Whole = field(default=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        num_inputs, S = (
            encoded_size(self.observation_space, self.action_space),
            observation_size(self.observation_space),
        )
        if self.encoding == "transition":
            num_inputs += 2 * S * action_size(self.action_space)
        self.network, φ = self.make_network(num_inputs, Encoder.heads(self.latent), {})
        φ = with_large_heads(φ, [f"{head}.weight" for head in Encoder.heads(self.latent)])
        self.encoder = Encoder(network=self.network, params=φ, latent=self.latent)
        decoder = Decoder(
            observation_space=self.observation_space,
            action_space=self.action_space,
            latent=self.latent,
            states=self.state_weight > 0,
            hidden=self.decoder_hidden,
            activation=self.decoder_activation,
            read=self.decoder_read,
            read_width=self.read_width,
            read_units=self.read_units,
        )
        decoder_params = decoder.init(self.streams("init", 1))
        num_inputs, heads = S + 2 * self.latent, self.learner.heads(self.action_space)
        policy: Network
        if self.policy_read == "observation":
            policy = StateNetwork(
                num_inputs=num_inputs, heads=heads, num_states=S, width=self.read_width, units=self.read_units
            )
        else:
            policy = MLP(
                num_inputs=num_inputs, heads=heads, hidden=self.policy_hidden, activation=self.policy_activation
            )
        constants = self.learner.constants(self.action_space)
        self.policy = WithConstants(network=policy, constants=constants) if constants else policy
        self.policy_params = self.policy.init(self.streams("init", 2))

        ψ = {f"policy.{name}": θ for name, θ in self.policy_params.items()}
        others = {f"encoder.{name}": θ for name, θ in φ.items()}
        others |= {f"decoder.{name}": θ for name, θ in decoder_params.items()}
        self.meta_params = others | ψ
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer.attach(ψ)
        self.belief_optimizer.attach(others)
        self.outer = Outer(
            learner=self.learner, optimizer=self.meta_optimizer, minibatches=self.minibatches, max_kl=self.max_kl
        )
        self.annealing = Annealing(
            self.outer, self.meta_iterations, self.final_lr, self.final_entropy_weight, self.final_discount
        )
        self.noise = self.streams("belief")
        self.elbo = ELBO(
            encoder=self.encoder,
            decoder=decoder,
            decoder_params=decoder_params,
            optimizer=self.belief_optimizer,
            noise=self.noise,
            times=self.belief_times,
            state_weight=self.state_weight,
            kl_weight=self.kl_weight,
        )

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        memory = self.encoder.initial_memory(num_tasks)
        if self.encoding == "transition":
            ψ = next(iter(self.policy_params.values()))
            memory[BEFORE] = ψ.new_zeros(num_tasks, 1, observation_size(self.observation_space))
        return AgentState(params={}, memory=memory)

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        x, remembered = encoded(percept, self.action_space), {}
        if self.encoding == "transition":
            before = agent.memory[BEFORE].expand_as(percept.observation)
            x, remembered = self.with_transition(x, before, percept), {BEFORE: percept.observation}
        belief, memory = self.encoder(x, agent.memory)
        output, _ = self.policy(self.policy_params, torch.cat([percept.observation, *belief], -1), {})
        return self.learner.policy(output), {**memory, **remembered}

    @torch.no_grad()
    def appraise(self, lifetimes: Rollout) -> tuple[Tensor, Tensor]:
        """V before every step of whole lifetimes, `[T, N, …]`, and the discounted returns that it predicts."""
        y = torch.cat([lifetimes.observation[:-1], *self.encoder.sequence(self.senses(lifetimes))], -1)
        output = with_end(self.policy(self.policy_params, y, {})[0])
        ended = lifetimes._replace(terminated=lifetimes.terminated | lifetimes.last)
        return self.outer.learner.appraise(output, ended)

    @torch.no_grad()
    def examine(self, lifetimes: Rollout, generator: torch.Generator) -> dict[str, list[float]]:
        """The error of predicted rewards, and what the policy makes of another lifetime's belief.

        Returns:
            `belief_reward_error`: ½ mean squared error of the rewards of a whole lifetime, predicted by the mean of
                the belief, of the beliefs in each episode; and `policy_change_belief_shuffled`: mean over the second
                half of each lifetime of the total variation ½ Σₐ |π(a | sₜ, qₜ) − π(a | sₜ, q′ₜ)|, where q′ is the
                belief of another lifetime at the same time; 0 for a policy that does not read its belief.
        """
        N, alive = lifetimes.reward.shape[1], lifetimes.alive
        q = self.encoder.sequence(self.senses(lifetimes))
        error, _ = self.elbo.decoder.errors(self.elbo.decoder_params, q.mean, lifetimes)
        ended = lifetimes.ended.long()
        episode = (ended.cumsum(0) - ended)[alive]
        of_step = (error / alive.sum(0))[alive].double()
        per_episode = torch.bincount(episode, of_step) / torch.bincount(episode)
        # The next in a random circle: never the lifetime itself
        order = torch.randperm(N, generator=generator, device=alive.device)
        other = torch.empty_like(order).index_copy_(0, order, order.roll(1))
        s, half = lifetimes.observation[:-1], slice(len(alive) // 2, None)
        own, others = (
            probabilities(self.learner.policy(self.policy(self.policy_params, torch.cat([s, *belief], -1), {})[0]))
            for belief in (q, [x[:, other] for x in q])
        )
        change = 0.5 * (own - others).abs().sum(-1)
        return {
            "belief_reward_error": per_episode.tolist(),
            "policy_change_belief_shuffled": [float(masked_mean(change[half], alive[half]))],
        }

    def senses(self, lifetimes: Rollout) -> Float[Tensor, "T N F"]:
        """The encoder's inputs along whole lifetimes, equal to those of `act` step by step."""
        percepts = lifetimes.percepts()
        x = encoded(percepts, self.action_space)
        if self.encoding == "step":
            return x
        return self.with_transition(x, pad(percepts.observation[:-1], (0, 0, 0, 0, 1, 0)), percepts)

    def with_transition(self, x: Tensor, before: Tensor, percept: Percept) -> Tensor:
        """The input with the features of the last transition."""
        return torch.cat([x, transition(before, percept, self.action_space)], -1)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes, policy = live(self.episodes - 1).merged()
        x = self.senses(lifetimes)
        with torch.no_grad():
            y = torch.cat([lifetimes.observation[:-1], *self.encoder.sequence(x)], -1)
        self.annealing.advance()
        metrics = self.outer.improve(lambda part: self.policy(self.policy_params, y[:, part], {})[0], lifetimes, policy)
        stride = -(-x.shape[1] // self.belief_lifetimes)
        for step in range(self.belief_steps):
            part = slice(step % stride, None, stride)
            belief_metrics = self.elbo.improve(x[:, part], lifetimes.envs(part))
        return metrics | belief_metrics

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        others = {"belief_optimizer": self.belief_optimizer.state(), "noise": self.noise.get_state()}
        return {**super().state(), **self.annealing.state(), **others}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.annealing.load_state(state)
        self.belief_optimizer.load_state(state["belief_optimizer"])
        self.noise.set_state(state["noise"])
