"""Meta-Q: tabular Q-learning, started and steered by a network that was trained over tasks."""

from typing import Any, ClassVar, Literal

import gymnasium
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.algo.base import Live
from metarl_run.algo.equivariant_q import EquivariantQ, Seen
from metarl_run.algo.hindsight import hindsight_q
from metarl_run.algo.meta_learner import MetaLearner
from metarl_run.algo.meta_optimizer import GradientRule
from metarl_run.env.base import TaskFamily
from metarl_run.errors import NumericalError
from metarl_run.kinds import Count, Positive, Widths, checked
from metarl_run.learner.base import num_actions
from metarl_run.policy import Categorical
from metarl_run.seeding import Streams
from metarl_run.types import AgentState, Memory, Params, Percept, Rollout

COUNTS = ("transitions", "visits", "total_reward", "starts")


class MetaQ(MetaLearner):
    remembers: ClassVar[bool] = True
    requires: ClassVar[tuple[str, ...]] = ("tabular",)

    @checked
    def __init__(
        self,
        *,
        family: TaskFamily,
        observation_space: gymnasium.spaces.Box,
        action_space: gymnasium.Space[Any],
        streams: Streams,
        episodes: Count,
        temperature: Positive,
        hidden: Widths,
        activation: Literal["tanh", "relu"],
        epochs: Count,
        minibatches: Count,
        meta_optimizer: GradientRule,
    ) -> None:
        self.num_states, self.num_actions = observation_space.shape[0], num_actions(action_space)
        self.horizon, self.episodes, self.temperature = family.horizon, episodes, temperature
        self.epochs, self.minibatches = epochs, minibatches
        self.network = EquivariantQ(hidden=list(hidden), activation=activation)
        self.meta_params = self.network.init(streams("init"))
        for θ in self.meta_params.values():
            θ.requires_grad_()
        self.meta_optimizer = meta_optimizer
        meta_optimizer.attach(self.meta_params)

    # --- Acting ---

    def start(self, num_tasks: int) -> AgentState:
        S, A, H = self.num_states, self.num_actions, self.horizon
        nothing = torch.zeros(num_tasks, 1, device=self.meta_params["reward.mean"].device)
        memory = {
            "transitions": nothing.new_zeros(num_tasks, 1, S, A, S),
            "visits": nothing.new_zeros(num_tasks, 1, S, A),
            "total_reward": nothing.new_zeros(num_tasks, 1, S, A),
            "starts": nothing.new_zeros(num_tasks, 1, S),
            "q": nothing.new_zeros(num_tasks, 1, H, S, A),
            "state": nothing.long(),
            "step": nothing.long(),  # of the episode, this one included; 0 before any
        }
        return AgentState(params={}, memory=memory)

    def act(self, agent: AgentState, percept: Percept) -> tuple[Categorical, Memory]:
        seen = self.observe(agent.memory, percept)
        begins = percept.last_ended
        if begins.any():
            seen["q"] = seen["q"].index_put((begins,), self.network(self.meta_params, self.seen(seen, begins)))
        t = (seen["step"] - 1).clamp(max=self.horizon - 1)
        row = (t * self.num_states + seen["state"])[..., None, None].expand(*t.shape, 1, self.num_actions)
        now = seen["q"].flatten(2, 3).gather(2, row).squeeze(2)
        return Categorical(now / self.temperature), seen

    def observe(self, memory: Memory, percept: Percept) -> Memory:
        M, B = percept.last_reward.shape
        old = {name: x.expand(M, B, *x.shape[2:]) for name, x in memory.items()}
        s, a, r, ended = old["state"], percept.last_action, percept.last_reward, percept.last_ended
        next_state = percept.observation.argmax(-1)
        happened = old["step"] > 0
        pair = s * self.num_actions + a
        visits = _added(old["visits"], pair, happened)
        followed = happened & ~ended
        n = visits.flatten(2).gather(2, pair.unsqueeze(-1))
        rate = 1 / (n + self.network.reward_weight(self.meta_params).detach())
        return {
            "transitions": _added(old["transitions"], pair * self.num_states + next_state, followed),
            "visits": visits,
            "total_reward": _added(old["total_reward"], pair, happened * r),
            "starts": _added(old["starts"], next_state, ended),
            "q": self.q_learning(old["q"], pair, r, next_state, rate * followed.unsqueeze(-1)),
            "state": next_state,
            "step": torch.where(ended, 0, old["step"]) + 1,
        }

    def q_learning(self, q, pair, reward, next_state, rate):
        H, S, A = q.shape[2:]
        value = q.amax(-1).gather(3, next_state[..., None, None].expand(*pair.shape, H, 1)).squeeze(-1)
        value = torch.cat([value[..., 1:], torch.zeros_like(value[..., :1])], -1)
        table, place = q.flatten(3), pair[..., None, None].expand(*pair.shape, H, 1)
        δ = reward.unsqueeze(-1) + value - table.gather(3, place).squeeze(-1)
        return table.scatter_add(3, place, (rate * δ).unsqueeze(-1)).view(q.shape)

    def seen(self, memory: Memory, slots: Tensor) -> Seen:
        return Seen(*(memory[name][slots] for name in Seen._fields))

    def adapt(self, agent: AgentState, rollout: Rollout) -> AgentState:
        return agent._replace(memory=rollout.memory)

    # --- Learning ---

    def meta_update(self, live: Live) -> dict[str, Tensor]:
        rollout = live(self.episodes - 1).rollouts[0]
        seen = self.replay(rollout)
        target, known = hindsight_q(rollout, num_actions=self.num_actions, horizon=self.horizon)
        metrics = {}
        B = rollout.reward.shape[2]
        minibatches = min(self.minibatches, B)
        for _ in range(self.epochs):
            for first in range(minibatches):
                part = slice(first, None, minibatches)
                loss = self.loss(Seen(*(x[:, part] for x in seen)), target, known)
                if not torch.isfinite(loss):
                    raise NumericalError("meta-loss", f"must be finite, got {loss.item()}", "lower meta_optimizer.lr")
                gradients = torch.autograd.grad(loss, self.meta_optimizer.tensors)
                norm = self.meta_optimizer.step(gradients, lambda: "the mean over tasks")
                metrics = {"loss": loss.detach(), "gradient_norm": norm}
        return metrics

    def loss(self, seen, target, known):
        """`seen` `[M, B, E, …]`"""
        shape = seen.visits.shape[:3]
        q = self.network(self.meta_params, Seen(*(x.flatten(0, 2) for x in seen))).unflatten(0, shape)
        error = (q - target[:, None, None]) ** 2 * known[:, None, None, None]
        return error.mean() / known.float().mean().clamp(min=1e-8)

    @torch.no_grad()
    def replay(self, rollout: Rollout) -> Seen:
        percepts = rollout.percepts()
        agent = self.start(len(rollout.reward))
        tables = []
        for t in range(rollout.reward.shape[1]):
            percept = Percept(*(x[:, t] for x in percepts))
            before = self.observe(agent.memory, percept)
            if percept.last_ended.any():
                tables.append(Seen(*(before[name] for name in Seen._fields)))
            agent = agent._replace(memory=self.act(agent, percept)[1])
        return Seen(*(torch.stack(x, 2) for x in zip(*tables)))


def _added(table: Tensor, place: Tensor, amount: Tensor) -> Tensor:
    """`table`, `[M, B, …]`, with `amount`, `[M, B]`, more at one place of each slot."""
    return table.flatten(2).scatter_add(2, place.unsqueeze(-1), amount.to(table.dtype).unsqueeze(-1)).view(table.shape)
