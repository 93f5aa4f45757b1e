"""RL²: an agent whose memory is its learning algorithm."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gymnasium
from jaxtyping import Float
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner
from metarl_run.algo.memory.outer_update import Outer
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.component import field
from metarl_run.kinds import Count, Positive
from metarl_run.learner.actor_critic import Critic
from metarl_run.learner.inputs import encoded, encoded_size
from metarl_run.maths.distributions import Distribution
from metarl_run.network.base import Network
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

MakeNetwork = Callable[[int, Mapping[str, int], Mapping[str, int]], tuple[Network, Params]]
"""(features of the input, sizes of the heads, sizes of the constants) → the configured network and its parameters."""


class RL2(MetaLearner):
    """Let a recurrent policy live whole lifetimes, and train it for what it earns along one.

        start:  h₀ = 0
        adapt:  hₜ₊₁ = f_θ(hₜ, (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁)),    aₜ ~ π_θ(· | hₜ₊₁)        h is kept from episode to episode
        learn:  ∇_θ of the outer learner's loss, an episode of it being a lifetime of n episodes

    θ stays as it is in a new task.

    Args:
        learner: the outer learner; its epochs are passes over the lifetimes of one meta-iteration.
        make_network: makes f_θ.
        observation_space: of the task family.
        action_space: of the task family.
        episodes: n, per lifetime in meta-training.
        minibatches: steps of the optimiser per pass.
        max_kl: nats; further than this the policy does not move in one meta-iteration.
        meta_optimizer: how θ follows.

    Differs from the paper: PPO with a stop at `max_kl` in the place of first-order TRPO; one network with a head for
    the policy and one for values, not two; its heads read the input by a linear shortcut, too, see
    `metarl_run.network.recurrent`; its new memory is a tanh, not a ReLU; weights are not normalised.
    Source: Duan et al. (2016), arXiv:1611.02779; Wang et al. (2016), arXiv:1611.05763.
    """

    provides: ClassVar[tuple[str, ...]] = ("remembers",)
    requires: ClassVar[tuple[str, ...]] = ("memory", "critic")
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
    meta_params: Params = field(init=False)
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        heads, constants = self.learner.heads(self.action_space), self.learner.constants(self.action_space)
        self.network, self.meta_params = self.make_network(self.num_inputs(), heads, constants)
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer.attach(self.meta_params)
        self.outer = Outer(
            learner=self.learner, optimizer=self.meta_optimizer, minibatches=self.minibatches, max_kl=self.max_kl
        )

    def start(self, num_tasks: int) -> AgentState:
        return AgentState(params={}, memory=self.network.initial_memory(self.meta_params, num_tasks))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        return self.act_by(self.meta_params, agent, percept)

    def act_by(self, θ: Params, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        """`act`, as a function of θ too."""
        x, noted = self.sense(percept, agent.memory)
        hidden = {name: tensor for name, tensor in agent.memory.items() if name not in noted}
        output, hidden = self.network(θ, x, hidden)
        return self.learner.policy(output), {**noted, **hidden}

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes, policy = live(self.episodes - 1).merged()
        x = self.senses(lifetimes)
        return self.outer.improve(lambda part: self.network.sequence(self.meta_params, x[:, part]), lifetimes, policy)

    # --- What the network reads ---

    def num_inputs(self) -> int:
        """F, features of one input."""
        return encoded_size(self.observation_space, self.action_space)

    def sense(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "M B F"], Memory]:
        """The input that `percept` makes, and what is remembered besides the network's own memory."""
        return encoded(percept, self.action_space), {}

    def senses(self, lifetimes: Rollout) -> Float[Tensor, "T N F"]:
        """The inputs of whole lifetimes, as `sense` made them one after another."""
        return encoded(lifetimes.percepts(), self.action_space)
