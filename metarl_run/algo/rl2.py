"""RL²: a recurrent policy whose memory implements the learning algorithm."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.algo.base import Live, LiveDivided, MetaLearner
from metarl_run.algo.memory.annealing import Annealing
from metarl_run.algo.memory.outer_update import Outer, with_end
from metarl_run.algo.memory.prediction import REWARD, reward_error
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import Count, Fraction, NonNegative, Positive, Whole
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.base import Output, action_size
from metarl_run.learner.inputs import encoded, encoded_size, observation_size, transition
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

MakeNetwork = Callable[[int, Mapping[str, int], Mapping[str, int]], tuple[Network, Params]]
"""(input features, sizes of heads, sizes of constants) → the configured network and its initial parameters."""

BEFORE = "last_observation"
"""Key of the memory: sₜ₋₁."""


class RL2(MetaLearner):
    """Train a recurrent policy on whole lifetimes, to maximise the reward along each.

        start:  h₀ = 0
        adapt:  hₜ₊₁ = f_θ(hₜ, (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁)),    aₜ ~ π_θ(· | hₜ₊₁)        h carries over between episodes
        learn:  ∇_θ of the outer learner's loss, which treats a lifetime of n episodes as one episode

    θ is fixed during adaptation.

    Args:
        learner: the outer learner; its epochs are passes over the lifetimes of one meta-iteration.
        make_network: constructs f_θ.
        observation_space: of the task family.
        action_space: of the task family.
        episodes: n ≥ 1, per lifetime in meta-training.
        minibatches: optimiser steps per pass.
        max_kl: limit on the policy's KL divergence per meta-iteration, nats.
        encoding: `step` as above, or with the last `transition`: one-hot (sₜ₋₁, aₜ₋₁), and rₜ₋₁ times it, as
            additional inputs, so that a cell can store what it saw without first keeping sₜ₋₁ for a step.
        predict: `nothing`, or the `reward` of every action, by one more head of the network, see
            `metarl_run.algo.memory.prediction`.
        prediction_weight: w ≥ 0, of the prediction's squared error in the loss.
        final_lr: step size of the last meta-iteration, approached geometrically; None keeps that of `meta_optimizer`.
        final_entropy_weight: of the last meta-iteration, approached linearly; None keeps the learner's.
        final_discount: γ of the last meta-iteration, approached linearly; None keeps the learner's.
        meta_iterations: number of meta-updates over which these change.
        meta_optimizer: updates θ.

    Differs from the paper: PPO with early stopping at `max_kl` instead of first-order TRPO; one network with a policy
    head and a value head, not two networks; the heads also read the input through a linear shortcut, see
    `metarl_run.network.recurrent`; the candidate memory is a tanh, not a ReLU; no weight normalisation. The
    paper has nothing of `encoding`, `predict` and the final values: experiment=rl2_mdp_n10_read is a variant with them.
    Source: Duan et al. (2016), arXiv:1611.02779; Wang et al. (2016), arXiv:1611.05763.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers", "observation_first", "divides")
    requires: ClassVar[tuple[str, ...]] = ("memory", "critic")
    requires_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {
        "encoding": {"transition": ("tabular",)},
        "predict": {"reward": ("discrete_actions",)},
    }
    advice: ClassVar[dict[str, str]] = {"episodes": "a lifetime has at least one episode"}
    remembers: ClassVar[bool] = True
    keeps_policy: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    learner: Critic
    make_network: MakeNetwork
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    episodes: Count
    minibatches: Count
    max_kl: Positive
    encoding: Literal["step", "transition"] = field(default="step")
    predict: Literal["nothing", "reward"] = field(default="nothing")
    prediction_weight: NonNegative = field(default=1.0)
    final_lr: Positive | None = field(default=None)
    final_entropy_weight: NonNegative | None = field(default=None)
    final_discount: Fraction | None = field(default=None)
    meta_iterations: Whole = field(default=1)
    meta_params: Params = field(init=False)
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        heads, constants = self.learner.heads(self.action_space), self.learner.constants(self.action_space)
        if self.predict == "reward":
            heads = {**heads, REWARD: action_size(self.action_space)}
        self.network, self.meta_params = self.make_network(self.num_inputs(), heads, constants)
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer.attach(self.meta_params)
        self.outer = Outer(
            learner=self.learner,
            optimizer=self.meta_optimizer,
            minibatches=self.minibatches,
            max_kl=self.max_kl,
            auxiliary=self.prediction_loss if self.predict == "reward" else None,
        )
        self.annealing = Annealing(
            self.outer, self.meta_iterations, self.final_lr, self.final_entropy_weight, self.final_discount
        )

    def start(self, num_tasks: int) -> AgentState:
        memory = self.network.initial_memory(self.meta_params, num_tasks)
        if self.encoding == "transition":
            θ = next(iter(self.meta_params.values()))
            memory[BEFORE] = θ.new_zeros(num_tasks, 1, observation_size(self.observation_space))
        return AgentState(params={}, memory=memory)

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        return self.act_by(self.meta_params, agent, percept)

    def act_by(self, θ: Params, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """`act` as an explicit function of θ."""
        x, remembered = self.sense(percept, agent.memory)
        hidden = {name: tensor for name, tensor in agent.memory.items() if name not in remembered}
        output, hidden = self.network(θ, x, hidden)
        return self.learner.policy(output), {**remembered, **hidden}

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes, policy = live(self.episodes - 1).merged()
        x = self.senses(lifetimes)
        self.annealing.advance()
        return self.outer.improve(lambda part: self.network.sequence(self.meta_params, x[:, part]), lifetimes, policy)

    def divided_update(self, live: LiveDivided) -> dict[str, Tensor]:
        parts = live(self.episodes - 1)
        lifetimes, policies = zip(*(part.merged() for part in parts.here), strict=True)
        senses = [self.senses(each) for each in lifetimes]
        self.annealing.advance()

        def outputs(x: Tensor, part: slice) -> Output:
            return self.network.sequence(self.meta_params, x[:, part])

        return self.outer.improve_divided([partial(outputs, x) for x in senses], lifetimes, policies, parts.of_parts)

    def prediction_loss(self, output: Output, lifetimes: Rollout) -> tuple[Tensor, dict[str, Tensor]]:
        """w times the squared error of predicted rewards, and the error itself."""
        error = reward_error(output, lifetimes)
        return self.prediction_weight * error, {"reward_error": error.detach()}

    @torch.no_grad()
    def appraise(self, lifetimes: Rollout) -> tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]]:
        """V before every step of whole lifetimes, `[T, N, …]`, and the discounted returns that it predicts."""
        output = with_end(self.network.sequence(self.meta_params, self.senses(lifetimes)))
        return self.outer.learner.appraise(output, lifetimes._replace(terminated=lifetimes.terminated | lifetimes.last))

    # --- Network inputs ---

    def num_inputs(self) -> int:
        """Number of features of one input, F."""
        size = encoded_size(self.observation_space, self.action_space)
        pairs = observation_size(self.observation_space) * action_size(self.action_space)
        return size + 2 * pairs if self.encoding == "transition" else size

    def sense(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "M B F"], Memory]:
        """The network's input from `percept`, and any memory kept beside the network's own."""
        x = encoded(percept, self.action_space)
        if self.encoding == "step":
            return x, {}
        before = memory[BEFORE].expand_as(percept.observation)
        return torch.cat([x, transition(before, percept, self.action_space)], -1), {BEFORE: percept.observation}

    def senses(self, lifetimes: Rollout) -> Float[Tensor, "T N F"]:
        """The inputs along whole lifetimes, equal to those from `sense` step by step."""
        percepts = lifetimes.percepts()
        x = encoded(percepts, self.action_space)
        if self.encoding == "step":
            return x
        before = pad(percepts.observation[:-1], (0, 0, 0, 0, 1, 0))
        return torch.cat([x, transition(before, percepts, self.action_space)], -1)

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        return {**super().state(), **self.annealing.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.annealing.load_state(state)
