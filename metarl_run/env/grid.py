"""Base of the families on a square grid without walls inside: moves, tasks that can be listed, pictures."""

import hashlib
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.base import Split, TaskFamily
from metarl_run.env.drawing import PALE, SIZE, TRAIL, WHITE, Canvas, Colour
from metarl_run.env.parameter import in_turn

MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1), (0, 0))
"""(y, x) of up, right, down, left, stay."""

UP, RIGHT, DOWN, LEFT, STAY = range(len(MOVES))


class Grid(TaskFamily):
    """A grid whose cells are numbered row after row, c = size · y + x, and whose tasks have numbers, too.

    Which tasks belong to which split depends on their number alone: they are put in the order of a hash, meta-training
    has the first ones, meta-testing the last. So the splits are disjoint unless one of them has all tasks, and the same
    on every machine.
    """

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular")
    starts_alike: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def prepare(self, *, num_states: int, num_tasks: int, splits: tuple[Mapping[str, Any], Mapping[str, Any]]) -> None:
        """Set what the methods below need; for `__post_init__`."""
        self.num_states = num_states
        self.numbers = split_by_hash(num_tasks, *splits)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (num_states,))
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))

    def start_at(self, cell: int | None) -> None:
        """Begin every episode in this cell; in any, equally likely, if None."""
        self.first = cell
        vars(self)["fixed_starts"] = cell is not None  # of this family; other options of its class differ

    def first_states(self, num_cells: int, device: torch.device) -> Float[Tensor, " S"]:
        """The distribution of the first state, one of the first `num_cells`."""
        start = torch.zeros(self.num_states, device=device)
        if self.first is None:
            start[:num_cells] = 1 / num_cells
        else:
            start[self.first] = 1.0
        return start

    def draw_first(self, num_cells: int, shape: tuple[int, int], generator: torch.Generator) -> Int[Tensor, "M B"]:
        """First states."""
        if self.first is None:
            return torch.randint(num_cells, shape, generator=generator, device=generator.device)
        return torch.full(shape, self.first, device=generator.device)

    @abstractmethod
    def task_of(self, number: Int[Tensor, " M"]) -> Any:
        """The tasks with these numbers."""

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> Any:
        return self.task_of(in_turn(torch.tensor(self.numbers[split], device=generator.device), num_tasks, generator))

    def all_tasks(self, split: Split) -> Any:
        return self.task_of(torch.tensor(self.numbers[split]))


def split_by_hash(
    num_tasks: int, meta_train: Mapping[str, Any], meta_test: Mapping[str, Any]
) -> dict[Split, list[int]]:
    """The numbers of each split's tasks: the first and the last in the order of a hash of the number."""

    def key(number: int) -> bytes:
        return hashlib.blake2b(str(number).encode(), digest_size=8).digest()

    order = sorted(range(num_tasks), key=key)
    train, test = (num_tasks if split["tasks"] == "all" else split["tasks"] for split in (meta_train, meta_test))
    return {"meta_train": order[:train], "meta_test": order[num_tasks - test :]}


def next_cells(size: int, device: torch.device) -> Int[Tensor, "C A"]:
    """The cell that each move leads to; an agent that would leave the grid stays."""
    side = torch.arange(size, device=device)
    place = torch.cartesian_prod(side, side).unsqueeze(1) + torch.tensor(MOVES, device=device)
    y, x = place.clamp(0, size - 1).unbind(-1)
    return size * y + x


def table_of_moves(size: int) -> tuple[tuple[int, ...], ...]:
    """`next_cells` as plain numbers."""
    return tuple(map(tuple, next_cells(size, torch.device("cpu")).tolist()))


def one_hot(number: Int[Tensor, "*N"], size: int) -> Float[Tensor, "*N S"]:
    """Observations of states with these numbers; torch's own function checks them first, which takes longer."""
    return torch.zeros(*number.shape, size, device=number.device).scatter_(-1, number.unsqueeze(-1), 1.0)


def probabilities(then: Int[Tensor, "M S A"], goes_on: Bool[Tensor, "M S A"]) -> Float[Tensor, "M S A S"]:
    """P(s′ | s, a) of moves to state `then`, nowhere if the episode does not go on."""
    M, S, A = then.shape
    return torch.zeros(M, S, A, S, device=then.device).scatter_(-1, then.unsqueeze(-1), goes_on.float().unsqueeze(-1))


def straight_move(cell: Int[Tensor, "M B"], target: Int[Tensor, "M _"], size: int) -> Int[Tensor, "M B"]:
    """The move towards a cell: first up or down, then right or left, then stay."""
    up, right = target // size - cell // size, target % size - cell % size
    sideways = torch.where(right > 0, RIGHT, torch.where(right < 0, LEFT, STAY))
    return torch.where(up > 0, UP, torch.where(up < 0, DOWN, sideways))


def start_cell(start: str, size: int) -> int | None:
    """The cell where episodes start; None if that is any, equally likely."""
    return {"corner": 0, "centre": (size // 2) * (size + 1), "uniform": None}[start]


def picture(size: int, colours: Mapping[int, Colour], cells: Sequence[int]) -> np.ndarray:
    """The grid with some coloured cells, and the way of the agent, which is in the last of `cells`."""
    canvas = Canvas(0.0, float(size))
    for cell in range(size**2):
        y, x = divmod(cell, size)
        canvas.box((x, y), (x + 1, y + 1), colours.get(cell, WHITE), outline=PALE)
    path = [(cell % size + 0.5, cell // size + 0.5) for cell in cells]
    canvas.line(path, TRAIL, 4)
    canvas.dot(path[-1], SIZE / size / 4)
    return canvas.array()


def side_of(num_cells: int) -> int:
    """Cells along each side."""
    return math.isqrt(num_cells)
