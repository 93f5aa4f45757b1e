"""Meta-Q: tabular Q-learning from action values that a meta-learned network proposes."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.algo.base import Live, MetaLearner, required_finite
from metarl_run.algo.meta_optimizer.base import GradientRule
from metarl_run.algo.q.equivariant_q import EquivariantQ, Seen
from metarl_run.algo.q.hindsight import hindsight_q
from metarl_run.algo.q.q_table import QTable, added
from metarl_run.component import field
from metarl_run.env.base import TaskFamily
from metarl_run.kinds import Count, Positive, Widths
from metarl_run.learner.base import num_actions
from metarl_run.maths.distributions import Categorical
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout


class MetaQ(MetaLearner):
    """Run Q-learning in every task, from values that a network proposes at each episode's start given all counts.

        start:  no counts, Q = 0
        adapt:  Q ← f_θ(n, Σ r, Q) before an episode's first step; after every other step Q-learning with w = w_θ, see
                `metarl_run.algo.q.q_table`,    aₜ ~ softmax(Qₜ(sₜ, ·) / τ)
        learn:  ∇_θ of E[(f_θ(n, Σ r, Q) − Q*)²] over the first steps of all episodes of all lifetimes

    n are the env's counts of transitions, visits and episode starts, and Σ r its rewards. Q* is the fixed point of
    Q-learning on the pooled experience of all envs of the task, see `metarl_run.algo.q.hindsight`; untried pairs are
    excluded from the loss. So f_θ approximates E[Q* | counts]. Its maximum over actions is at least the value of
    planning in the mean MDP, which favours untried actions. The parameters of f_θ do not depend on S, A or H, see
    `metarl_run.algo.q.equivariant_q`.

    Args:
        family: gives the horizon.
        observation_space: of the task family; states are one-hot.
        action_space: of the task family.
        streams: random streams of the initial parameters.
        episodes: per lifetime in meta-training, ≥ 1.
        temperature: τ > 0, in units of the return.
        hidden: units of each hidden layer of the network's correction.
        activation: of its hidden layers.
        epochs: passes over the lifetimes of one meta-iteration.
        minibatches: optimiser steps per pass, each on some envs of every task.
        meta_optimizer: updates θ.

    Differs from the paper: there all tasks and their probabilities are known; here f_θ learns the expectation from
    sampled tasks, and Q-learning continues within the episode.
    Source: Littman, Cassandra and Kaelbling (1995), "Learning policies for partially observable environments: scaling
    up", the Q_MDP method, for acting on E[Q* | experience].
    """

    requires: ClassVar[tuple[str, ...]] = ("tabular",)
    remembers: ClassVar[bool] = True

    family: TaskFamily
    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]
    streams: Streams
    episodes: Count
    temperature: Positive
    hidden: Widths
    activation: Literal["tanh", "relu"]
    epochs: Count
    minibatches: Count
    meta_params: Params = field(init=False)
    meta_optimizer: GradientRule

    def __post_init__(self) -> None:
        super().__post_init__()
        self.table = QTable(
            num_states=self.observation_space.shape[0],
            num_actions=num_actions(self.action_space),
            horizon=self.family.horizon,
            discount=1.0,
            temperature=self.temperature,
        )
        self.network = EquivariantQ(hidden=self.hidden, activation=self.activation)
        self.meta_params = self.network.init(self.streams("init"))
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer.attach(self.meta_params)

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        S, A = self.table.num_states, self.table.num_actions
        device = next(iter(self.meta_params.values())).device
        counts = {
            "transitions": torch.zeros(num_tasks, 1, S, A, S, device=device),
            "total_reward": torch.zeros(num_tasks, 1, S, A, device=device),
            "starts": torch.zeros(num_tasks, 1, S, device=device),
        }
        return AgentState(params={}, memory={**counts, **self.table.initial_memory(num_tasks, device)})

    @torch.no_grad()
    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        memory, begins = self.observe(agent.memory, percept), percept.last_ended
        if begins.any():
            seen = Seen(*(memory[name][begins] for name in Seen._fields))
            memory["q"] = memory["q"].index_put((begins,), self.network(self.meta_params, seen))
        return self.table.policy(memory), memory

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        """The memory after the previous step, which `percept` reports, including its Q-learning update."""
        shape = percept.last_reward.shape
        transitions, total, starts = (
            memory[name].expand(*shape, *memory[name].shape[2:]) for name in ("transitions", "total_reward", "starts")
        )
        pair, state, ended = self.table.pair(memory, percept), percept.observation.argmax(-1), percept.last_ended
        happened = memory["step"] > 0
        return {
            "transitions": added(transitions, pair * self.table.num_states + state, happened & ~ended),
            "total_reward": added(total, pair, happened * percept.last_reward),
            "starts": added(starts, state, ended),
            **self.table.observe(memory, percept, self.network.reward_weight(self.meta_params)),
        }

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        lifetimes = live(self.episodes - 1).rollouts[0]
        (seen, queried), B = self.replay(lifetimes), lifetimes.reward.shape[2]
        target, known = hindsight_q(lifetimes, num_actions=self.table.num_actions, horizon=self.table.horizon)
        for _ in range(self.epochs):
            for first in range(min(self.minibatches, B)):
                envs = slice(first, None, self.minibatches)
                loss = self.loss(Seen(*(x[:, envs] for x in seen)), queried[:, envs], target, known)
                gradients = torch.autograd.grad(required_finite("meta-loss", loss), self.meta_optimizer.tensors)
                norm = self.meta_optimizer.step(gradients, lambda: "the mean over tasks")
        return {"loss": loss.detach(), "gradient_norm": norm, "known": known.float().mean()}

    def loss(
        self,
        seen: Seen,
        queried: Bool[Tensor, "M B E"],
        target: Float[Tensor, "M H S A"],
        known: Bool[Tensor, "M H S A"],
    ) -> Tensor:
        """Mean squared error of f_θ where it was queried, over the pairs with known targets."""
        q = self.network(self.meta_params, Seen(*(x.flatten(0, 2) for x in seen)))
        error = (q.view(seen.q.shape) - target[:, None, None]) ** 2
        counts = (known[:, None, None] & queried[..., None, None, None]).expand_as(error)
        return (error * counts).sum() / counts.sum().clamp(min=1)

    @torch.no_grad()
    def replay(self, lifetimes: Rollout) -> tuple[Seen, Bool[Tensor, "M B E"]]:
        """Counts of all envs whenever any began an episode, `[M, B, E, …]`, and which envs did and so queried f_θ."""
        percepts, alive = lifetimes.percepts(), lifetimes.alive
        agent = self.start(len(alive))
        seen, queried = [], []
        for t in range(alive.shape[1]):
            percept = Percept(*(part[:, t] for part in percepts))
            begins = percept.last_ended & alive[:, t]
            if begins.any():
                before = self.observe(agent.memory, percept)
                seen.append(Seen(*(before[name] for name in Seen._fields)))
                queried.append(begins)
            agent = agent._replace(memory=self.act(agent, percept)[1])
        return Seen(*(torch.stack(parts, 2) for parts in zip(*seen, strict=True))), torch.stack(queried, 2)
