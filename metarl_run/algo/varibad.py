"""VariBAD: a policy conditioned on an approximate posterior over tasks."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.memory.decoder import Decoder
from metarl_run.algo.memory.elbo import ELBO
from metarl_run.algo.memory.encoder import Encoder
from metarl_run.algo.memory.outer_update import Outer, with_end
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.rl2 import MakeNetwork
from metarl_run.component import field
from metarl_run.kinds import Count, NonNegative, Positive, Widths
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.inputs import encoded, encoded_size, observation_size
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.network.constants import WithConstants
from metarl_run.network.mlp import MLP
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
        belief_times: maximum number of time steps t per such step, the same ones in all its lifetimes.
        minibatches: optimiser steps of the policy per pass.
        max_kl: limit on the policy's KL divergence per meta-iteration, nats.
        meta_optimizer: updates ψ.
        belief_optimizer: updates φ and the decoder.

    Differs from the paper: the ELBO uses the lifetimes of this meta-iteration, not a buffer of earlier ones; at the end
    of an episode the encoder reads the first observation of the next one, not the last of this one; rewards are
    Gaussian (Bernoulli in the paper's grid); inputs are not embedded first, and the heads of a recurrent encoder read
    them through a linear shortcut past the memory, see `metarl_run.network.recurrent`.
    Source: Zintgraf et al. (2020), arXiv:1910.08348.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers", "observation_first")
    requires: ClassVar[tuple[str, ...]] = ("memory", "critic")
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

    def __post_init__(self) -> None:
        super().__post_init__()
        num_inputs = encoded_size(self.observation_space, self.action_space)
        self.network, φ = self.make_network(num_inputs, Encoder.heads(self.latent), {})
        self.encoder = Encoder(network=self.network, params=φ, latent=self.latent)
        decoder = Decoder(
            observation_space=self.observation_space,
            action_space=self.action_space,
            latent=self.latent,
            states=self.state_weight > 0,
            hidden=self.decoder_hidden,
            activation=self.decoder_activation,
        )
        decoder_params = decoder.init(self.streams("init", 1))
        policy: Network = MLP(
            num_inputs=observation_size(self.observation_space) + 2 * self.latent,
            heads=self.learner.heads(self.action_space),
            hidden=self.policy_hidden,
            activation=self.policy_activation,
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
        return AgentState(params={}, memory=self.encoder.initial_memory(num_tasks))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        belief, memory = self.encoder(encoded(percept, self.action_space), agent.memory)
        output, _ = self.policy(self.policy_params, torch.cat([percept.observation, *belief], -1), {})
        return self.learner.policy(output), memory

    @torch.no_grad()
    def appraise(self, lifetimes: Rollout) -> tuple[Tensor, Tensor]:
        """V before every step of whole lifetimes, `[T, N, …]`, and the discounted returns that it predicts."""
        x = encoded(lifetimes.percepts(), self.action_space)
        y = torch.cat([lifetimes.observation[:-1], *self.encoder.sequence(x)], -1)
        output = with_end(self.policy(self.policy_params, y, {})[0])
        return self.learner.appraise(output, lifetimes._replace(terminated=lifetimes.terminated | lifetimes.last))

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes, policy = live(self.episodes - 1).merged()
        x = encoded(lifetimes.percepts(), self.action_space)
        with torch.no_grad():
            y = torch.cat([lifetimes.observation[:-1], *self.encoder.sequence(x)], -1)
        metrics = self.outer.improve(lambda part: self.policy(self.policy_params, y[:, part], {})[0], lifetimes, policy)
        stride = -(-x.shape[1] // self.belief_lifetimes)
        for step in range(self.belief_steps):
            part = slice(step % stride, None, stride)
            belief_metrics = self.elbo.improve(x[:, part], lifetimes.envs(part))
        return metrics | belief_metrics

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        others = {"belief_optimizer": self.belief_optimizer.state(), "noise": self.noise.get_state()}
        return {**super().state(), **others}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.belief_optimizer.load_state(state["belief_optimizer"])
        self.noise.set_state(state["noise"])
