"""Inputs of a sequence model that adapts in its context: one token per step."""

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from metarl_run.learner.base import action_size
from metarl_run.learner.inputs import action_features, encoded, encoded_size, observation_size, transition
from metarl_run.types import Memory, Percept, Rollout

BEFORE = "last_observation"
"""Key of the memory: sₜ₋₁."""

PULLS, EARNED = "pulls", "earned"
"""Keys of the memory: n(s, a) and the sum of its rewards, `[M, B, S A]`."""

Code = Literal["step", "transition", "coordinates", "statistics"]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """Tokens of percepts, along whole sequences or step by step.

        step:         (sₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁)
        transition:   (step, p, rₜ₋₁ p),        p = one-hot (sₜ₋₁, aₜ₋₁)
        coordinates:  (yₜ, xₜ, bₜ, aₜ₋₁, rₜ₋₁, endₜ₋₁, q, rₜ₋₁ q),        q = (yₜ₋₁, xₜ₋₁, aₜ₋₁)
        statistics:   (step, Σr / m, √(1 / m), log m, Σr / (10 √m), √m / 10) of every action in sₜ,    m = n + 1

    `coordinates` suit grids: the state's row y and column x, one-hot each, and one-hot b for what the state tells
    besides. What is learned of one cell then holds for others in its row and its column; of one-hot cells, those that
    are no goals in meta-training would remain unknown. With `statistics` the model is told what it would otherwise have
    to add up: the number n of times that an action was taken in this state, and what it earned.

    Args:
        code: one of the above.
        observation_space, action_space: of the task family.
        side: cells along each side of the grid; None if the family is none.

    Raises:
        ValueError: if coordinates are asked for where states are no cells of a square grid.
    """

    code: Code
    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    side: int | None = None

    def __post_init__(self) -> None:
        if self.code == "coordinates" and (self.side is None or self.states % self.side**2):
            raise ValueError("encoding must be step or transition where states are no cells of a grid, got coordinates")

    @property
    def states(self) -> int:
        """D, features of an observation: of a tabular family S."""
        return observation_size(self.observation_space)

    @property
    def size(self) -> int:
        """F, features of a token."""
        A = action_size(self.action_space)
        match self.code:
            case "step":
                return encoded_size(self.observation_space, self.action_space)
            case "transition":
                return encoded_size(self.observation_space, self.action_space) + 2 * self.states * A
            case "statistics":
                return encoded_size(self.observation_space, self.action_space) + 5 * A
        place = 2 * self._side
        return place + self.layers + A + 2 + 2 * (place + A)

    @property
    def _side(self) -> int:
        assert self.side is not None
        return self.side

    @property
    def layers(self) -> int:
        """States of one cell."""
        return self.states // self._side**2

    def start(self, num_tasks: int, like: Tensor) -> Memory:
        """What `token` remembers, before any step."""
        remembered = {} if self.code == "step" else {BEFORE: like.new_zeros(num_tasks, 1, self.states)}
        if self.code == "statistics":
            none = like.new_zeros(num_tasks, 1, self.states * action_size(self.action_space))
            remembered |= {PULLS: none, EARNED: none}
        return remembered

    def token(self, percept: Percept, memory: Memory) -> tuple[Float[Tensor, "M B F"], Memory]:
        """The token of `percept`, and what to remember beside the network's memory."""
        if self.code == "step":
            return self._of(percept, percept.observation), {}
        before = memory[BEFORE].expand_as(percept.observation)
        if self.code == "statistics":
            pulled, earned = self._last(percept, before)
            pulls, sums = memory[PULLS] + pulled, memory[EARNED] + earned
            told = self._told(percept, pulls, sums)
            return told, {BEFORE: percept.observation, PULLS: pulls, EARNED: sums}
        return self._of(percept, before), {BEFORE: percept.observation}

    def tokens(self, sequences: Rollout) -> Float[Tensor, "T N F"]:
        """The tokens along sequences `[T, N, …]`, equal to those from `token` step by step."""
        percepts = sequences.percepts()
        before = pad(percepts.observation[:-1], (0, 0, 0, 0, 1, 0))
        if self.code == "statistics":
            return self._told(percepts, *(x.cumsum(0) for x in self._last(percepts, before)))
        return self._of(percepts, before)

    def _last(self, percept: Percept, before: Tensor) -> tuple[Tensor, Tensor]:
        """One-hot (sₜ₋₁, aₜ₋₁), 0 before any step, and rₜ₋₁ times it."""
        pulled, earned = transition(before, percept, self.action_space).chunk(2, -1)
        return pulled, earned

    def _told(self, percept: Percept, pulls: Tensor, earned: Tensor) -> Tensor:
        """The token with the statistics of the current state."""
        here = percept.observation.unsqueeze(-1)
        n, total = ((x.view(*x.shape[:-1], self.states, -1) * here).sum(-2) for x in (pulls, earned))
        x = encoded(percept, self.action_space)
        m, wide = n + 1, (n + 1).sqrt()  # a posterior's deviations are as wide as 1 / √m
        return torch.cat([x, total / m, 1 / wide, m.log(), total / wide / 10, wide / 10], -1)

    def _of(self, percept: Percept, before: Tensor) -> Tensor:
        if self.code == "step":
            return encoded(percept, self.action_space)
        if self.code == "transition":
            x = encoded(percept, self.action_space)
            return torch.cat([x, transition(before, percept, self.action_space)], -1)
        now = self.coordinates(percept.observation)
        x = encoded(percept._replace(observation=now), self.action_space)
        action = action_features(percept.last_action, self.action_space).to(x.dtype)
        q = torch.cat([self.coordinates(before)[..., : 2 * self._side], action], -1)
        return torch.cat([x, q, q * percept.last_reward.unsqueeze(-1)], -1)

    def coordinates(self, state: Float[Tensor, "X Y S"]) -> Float[Tensor, "X Y C"]:
        """y, x and b of one-hot states s = side² b + side y + x."""
        grid = state.reshape(*state.shape[:-1], self.layers, self._side, self._side)
        return torch.cat([grid.sum((-3, -1)), grid.sum((-3, -2)), grid.sum((-2, -1))], -1)
