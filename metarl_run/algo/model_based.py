"""Model-based agent: it plans in a dynamics model whose adaptation to a task is meta-learned."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner, required_finite
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.planning.base import DynamicsModel
from metarl_run.algo.planning.replay import Replay
from metarl_run.component import field
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count
from metarl_run.maths.distributions import Distribution
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Percept


class ModelBased(MetaLearner):
    """At every step: fit a dynamics model to the task's experience so far, plan in it, and act.

        start:  the prior of θ
        adapt:  p̂ₜ = p_θ(s′, r | s, a, τ_{:t}),    aₜ = the first action of a plan in p̂ₜ        τ: the lifetime so far
        learn:  ∇_θ of −log p_θ(τ_{t:} | τ_{:t}), with t drawn at random in lifetimes of the agent itself

    θ does not change in a new task.

    Args:
        family: tells whether the state space is finite, and gives the horizon.
        streams: random streams of initial parameters and of model learning.
        tabular: dynamics model and planner for families with finite state spaces.
        continuous: dynamics model and planner for the others.
        episodes: n, per lifetime in meta-training.
        replay: capacity of the replay buffer, in lifetimes.
        steps: optimiser steps per meta-iteration.
        lifetimes: lifetimes per step, drawn from the replay buffer.
        meta_optimizer: update rule of θ.

    Differs from the paper: a posterior adapts, not a recurrent state or parameters; it conditions on the whole
    lifetime, not only on the latest steps.
    Source: Nagabandi et al. (2019), arXiv:1803.11347: meta-learn to adapt a model online, from lifetimes collected by
    planning in it.
    """

    requires: ClassVar[tuple[str, ...]] = ("discrete_actions",)
    advice: ClassVar[dict[str, str]] = {"episodes": "a lifetime has at least one episode"}
    remembers: ClassVar[bool] = True

    family: TaskFamily
    streams: Streams
    tabular: DynamicsModel
    continuous: DynamicsModel
    episodes: Count
    capacity: Count = field(alias="replay")
    steps: Count
    lifetimes: Count
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dynamics = self.tabular if "tabular" in self.family.provides else self.continuous
        self.meta_params = self.dynamics.init(self.streams("init"))
        learned = {
            name: θ.requires_grad_() for name, θ in self.meta_params.items() if name not in self.dynamics.measured
        }
        self.meta_optimizer.attach(learned)
        self.replay = Replay(capacity=self.capacity, steps=self.episodes * self.family.horizon)
        self.noise = self.streams("model")

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        with torch.no_grad():
            return AgentState(params={}, memory=self.dynamics.initial_memory(self.meta_params, num_tasks))

    def draw(self, agent: AgentState, percept: Percept, generator: torch.Generator) -> AgentState:
        with torch.no_grad():
            return agent._replace(memory=self.dynamics.draw(self.meta_params, agent.memory, percept, generator))

    def act(self, agent: AgentState, percept: Percept) -> tuple[Distribution, Memory]:
        with torch.no_grad():
            return self.dynamics.act(self.meta_params, agent.memory, percept)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes = live(self.episodes - 1).rollouts[0].merged()
        self.dynamics.measure(self.meta_params, lifetimes)
        self.replay.add(lifetimes)
        for _ in range(self.steps):
            batch = self.replay.sample(self.lifetimes, self.noise)
            loss, metrics = self.dynamics.loss(self.meta_params, batch, self.noise)
            gradients = torch.autograd.grad(required_finite("meta-loss", loss), self.meta_optimizer.tensors)
            norm = self.meta_optimizer.step(gradients, lambda: "the mean over lifetimes")
        return {"loss": loss.detach(), "gradient_norm": norm, **metrics}

    # --- Saving and resuming ---

    def state(self) -> dict[str, Any]:
        return {**super().state(), "replay": self.replay.state(), "noise": self.noise.get_state()}

    def form(self) -> dict[str, Any]:
        num_features = math.prod(self.family.observation_space.shape or ())
        return {**self.state(), "replay": self.replay.form(num_features)}

    def load_state(self, state: dict[str, Any]) -> None:
        super().load_state(state)
        self.replay.load_state(state["replay"])
        self.noise.set_state(state["noise"])
