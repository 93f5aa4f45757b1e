"""Dark Key-to-Door: an empty grid with a hidden key, and a hidden door that pays only with the key."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.base import Step, Task
from metarl_run.env.drawing import GOAL, TREASURE, mixed
from metarl_run.env.grid import (
    MOVES,
    Grid,
    next_cells,
    one_hot,
    picture,
    probabilities,
    side_of,
    start_cell,
    straight_move,
)
from metarl_run.kinds import Interval, TasksOf

Size = Annotated[int, Interval(int, 2, 20)]
Share = Annotated[dict[str, Any], TasksOf("size", power=4)]
Others = Annotated[dict[str, Any], TasksOf("size", power=4, beside="meta_train")]

STAGES = 3
"""Without the key, with it, and through the door."""


@dataclass(frozen=True)
class DarkKeyToDoorTask(Task):
    """M rooms. A state is a stage, 0, 1 or 2 payments received, and a cell: s = cells · stage + cell.

    Attributes:
        key: the cell of the key.
        door: the cell of the door.
        start: the distribution of the first state.
        ends: the door ends the episode.
    """

    key: Int[Tensor, " M"]
    door: Int[Tensor, " M"]
    start: Float[Tensor, "M S"]
    ends: Bool[Tensor, " M"]

    @property
    def num_cells(self) -> int:
        return self.start.shape[1] // STAGES

    @functools.cached_property
    def next_state(self) -> Int[Tensor, "S A"]:
        """The state that each action leads to, in any task, but for a payment."""
        cells = next_cells(side_of(self.num_cells), self.key.device)
        return torch.cat([cells + stage * len(cells) for stage in range(STAGES)])

    @functools.cached_property
    def pays(self) -> tuple[Int[Tensor, "M 1"], Int[Tensor, "M 1"]]:
        """The two states in which a step that leads there pays, and goes on to the next stage."""
        return self.key.unsqueeze(-1), (self.door + self.num_cells).unsqueeze(-1)

    @property
    def mean_reward(self) -> Float[Tensor, "M S A"]:
        key, door = (number.unsqueeze(-1) for number in self.pays)
        return ((self.next_state == key) | (self.next_state == door)).float()

    @property
    def transition(self) -> Float[Tensor, "M S A S"]:
        """P(s′ | s, a)."""
        paid = self.mean_reward.long()
        out = (self.next_state == self.pays[1].unsqueeze(-1)) & self.ends[:, None, None]
        return probabilities(self.next_state + self.num_cells * paid, ~out)


class DarkKeyToDoorState(NamedTuple):
    """Number of the state."""

    number: Int[Tensor, "M B"]


class DarkKeyToDoor(Grid):
    """Search a dark room for a key and then for a door, each of which pays once in an episode, the door with the key.

    Task: the cells of key and door, which may be the same. Observation: the state, one-hot: the stage and the cell.
    Action: up, right, down, left or stay; at a wall the agent stays where it is. Reward: 1 for the first step that
    leads to the key, and for the first later one that leads to the door; else 0. Start: see `start`. Termination: at
    the door if `ends`, else never. Optimal return: 2 if both can be reached in time.

    Differs from the paper: there the agent observes the two coordinates, and not whether it has the key.

    Args:
        size: cells along each side.
        start: `corner`, cell 0; `centre`; or `uniform`, any cell, equally likely.
        ends: an episode ends at the door.
        meta_train: how many of the size⁴ tasks are for meta-training, or `all`.
        meta_test: the same for meta-testing, taken from the rest unless one of both has `all`.

    Raises:
        ValueError: if the splits would have more tasks than there are.

    Source: Laskin et al. (2022), arXiv:2210.14215.
    """

    size: Size
    start: Literal["corner", "centre", "uniform"]
    ends: bool
    meta_train: Share
    meta_test: Others

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {
        "task": ("size", "size", 3),
        "observation": ("size", "size", 3),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        cells = self.size**2
        self.prepare(num_states=STAGES * cells, num_tasks=cells**2, splits=(self.meta_train, self.meta_test))
        self.start_at(start_cell(self.start, self.size))

    def task_of(self, number: Int[Tensor, " M"]) -> DarkKeyToDoorTask:
        M, cells = len(number), self.size**2
        return DarkKeyToDoorTask(
            key=number // cells,
            door=number % cells,
            start=self.first_states(cells, number.device).expand(M, -1),
            ends=torch.tensor(self.ends, device=number.device).expand(M),
        )

    def reset(self, task: DarkKeyToDoorTask, num_episodes: int, generator: torch.Generator) -> DarkKeyToDoorState:
        return DarkKeyToDoorState(self.draw_first(self.size**2, (task.num_tasks, num_episodes), generator))

    def step(
        self, task: DarkKeyToDoorTask, state: DarkKeyToDoorState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[DarkKeyToDoorState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        number = task.next_state.take(state.number.mul(len(MOVES)).add_(action))
        key, door = task.pays
        opens = number == door
        pays = (number == key) | opens
        number.add_(pays, alpha=self.size**2)
        return DarkKeyToDoorState(number), pays.float(), opens if self.ends else torch.zeros_like(opens)

    def observe(self, task: DarkKeyToDoorTask, state: DarkKeyToDoorState) -> Float[Tensor, "M B S"]:
        return one_hot(state.number, self.num_states)

    def optimal_action(self, task: DarkKeyToDoorTask, state: Int[Tensor, "M B"]) -> Int[Tensor, "M B"]:
        """Towards the key, or with it the door: first up or down, then right or left, then stay."""
        cells = self.size**2
        target = torch.where(state < cells, task.key.unsqueeze(-1), task.door.unsqueeze(-1))
        return straight_move(state % cells, target, self.size)

    def render(self, task: DarkKeyToDoorTask, state: DarkKeyToDoorState, past: Sequence[Step] = ()) -> np.ndarray:
        """The room with its door, the key while it is there, and the way of the agent."""
        cells = [int(place.number) % self.size**2 for place in (*(step.state for step in past), state)]
        stage = int(state.number) // self.size**2
        key = {} if stage else {int(task.key[0]): TREASURE}
        return picture(self.size, {int(task.door[0]): mixed(GOAL, 0.45), **key}, cells)
