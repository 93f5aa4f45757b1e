"""Tabular Q-learning in every env of every task, after every step."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl_run.maths.distributions import Categorical
from metarl_run.types import Memory, Percept

LEARNED = ("visits", "q", "state", "step")
"""Keys of the memory."""


@dataclass(frozen=True, kw_only=True)
class QTable:
    """One table per env and step of the episode; every transition updates the tables of all steps.

        Qₜ(s, a) ← Qₜ(s, a) + (r + γ maxₐ′ Qₜ₊₁(s′, a′) − Qₜ(s, a)) / (n(s, a) + w)        for all t,    Q_H = 0
        π(a | s) ∝ exp(Qₜ(s, a) / τ)

    where n includes this visit. Rewards and transitions do not depend on the step, so one transition updates all steps.
    The next state of an episode's last step is not observed, so that step updates Q_H₋₁ alone.

    Args:
        num_states: S.
        num_actions: A.
        horizon: H, maximum length of an episode.
        discount: γ in [0, 1], per step.
        temperature: τ > 0, in units of Q.

    Source: Watkins & Dayan (1992), Machine Learning 8; Sutton and Barto (2018), Reinforcement Learning, for
    the softmax.
    """

    num_states: int
    num_actions: int
    horizon: int
    discount: float
    temperature: float

    def initial_memory(self, num_tasks: int, device: torch.device) -> Memory:
        """The memory before any experience, all values 0."""
        S, A, H = self.num_states, self.num_actions, self.horizon
        nothing = torch.zeros(num_tasks, 1, device=device)
        return {
            "visits": nothing.new_zeros(num_tasks, 1, S, A),
            "q": nothing.new_zeros(num_tasks, 1, H, S, A),
            "state": nothing.long(),
            "step": nothing.long(),  # of the episode, including the current one; 0 before the first
        }

    def observe(self, memory: Memory, percept: Percept, weight: float | Tensor) -> Memory:
        """The memory after the previous step, which `percept` reports; `weight` is w."""
        shape = percept.last_reward.shape
        old = {name: memory[name].expand(*shape, *memory[name].shape[2:]) for name in LEARNED}
        happened, ended = old["step"] > 0, percept.last_ended
        pair, state = self.pair(memory, percept), percept.observation.argmax(-1)
        visits = added(old["visits"], pair, happened)
        rate = 1 / (visits.flatten(2).gather(2, pair.unsqueeze(-1)) + weight)
        updated = happened.unsqueeze(-1).expand(*shape, self.horizon).clone()
        updated[..., :-1] &= ~ended.unsqueeze(-1)
        return {
            "visits": visits,
            "q": self.moved(old["q"], pair, percept.last_reward, state, torch.where(updated, rate, 0.0)),
            "state": state,
            "step": torch.where(ended, 0, old["step"]) + 1,
        }

    def pair(self, memory: Memory, percept: Percept) -> Int[Tensor, "M B"]:
        """Index s A + a of the previous step."""
        return memory["state"] * self.num_actions + percept.last_action

    def moved(
        self,
        q: Float[Tensor, "M B H S A"],
        pair: Int[Tensor, "M B"],
        reward: Float[Tensor, "M B"],
        next_state: Int[Tensor, "M B"],
        rate: Float[Tensor, "M B H"],
    ) -> Float[Tensor, "M B H S A"]:
        """The tables after one transition from `pair`."""
        H = self.horizon
        to_each = next_state[..., None, None].expand(*pair.shape, H, 1)
        V = q.amax(-1).gather(3, to_each).squeeze(-1)
        V_next = torch.cat([V[..., 1:], torch.zeros_like(V[..., :1])], -1)
        table, place = q.flatten(3), pair[..., None, None].expand(*pair.shape, H, 1)
        δ = reward.unsqueeze(-1) + self.discount * V_next - table.gather(3, place).squeeze(-1)
        return table.scatter_add(3, place, (rate * δ).unsqueeze(-1)).view(q.shape)

    def policy(self, memory: Memory) -> Categorical:
        """π(· | s) at the current step and state of every env."""
        t, q = (memory["step"] - 1).clamp(max=self.horizon - 1), memory["q"]
        row = (t * self.num_states + memory["state"])[..., None, None].expand(*t.shape, 1, self.num_actions)
        return Categorical(q.flatten(2, 3).gather(2, row).squeeze(2) / self.temperature)


def added(table: Tensor, place: Int[Tensor, "M B"], amount: Tensor) -> Tensor:
    """`table`, `[M, B, …]`, plus `amount`, `[M, B]`, at one `place` of each env."""
    flat = table.flatten(2)
    return flat.scatter_add(2, place.unsqueeze(-1), amount.to(table.dtype).unsqueeze(-1)).view(table.shape)
