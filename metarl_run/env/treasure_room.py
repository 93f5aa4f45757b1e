"""Dark Treasure Room: an empty grid with hidden objects that pay or cost once in an episode."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import TRAP, TREASURE
from metarl_run.env.grid import MOVES, next_cells, one_hot, picture, side_of
from metarl_run.env.parameter import sample
from metarl_run.kinds import Distributions, Interval

Size = Annotated[int, Interval(int, 2, 40)]
Objects = Annotated[int, Interval(int, 1, 10)]
Values = Annotated[dict[str, Any], Distributions("value")]


@dataclass(frozen=True)
class TreasureRoomTask(Task):
    """M rooms with n objects each.

    Attributes:
        objects: the set of objects in each cell, a number with a bit for each object.
        value: of each object.
    """

    objects: Int[Tensor, "M C"]
    value: Float[Tensor, "M n"]

    @functools.cached_property
    def sums(self) -> Float[Tensor, "M sets"]:
        """The value of each set of objects."""
        n = self.value.shape[1]
        sets = torch.arange(2**n, device=self.value.device)
        return self.value @ (sets >> torch.arange(n, device=sets.device).unsqueeze(-1) & 1).float()

    @functools.cached_property
    def next_cell(self) -> Int[Tensor, "C A"]:
        """The cell that each action leads to, in any task."""
        return next_cells(side_of(self.objects.shape[1]), self.objects.device)


class TreasureRoomState(NamedTuple):
    """The cell, and the set of objects that are still there."""

    cell: Int[Tensor, "M B"]
    left: Int[Tensor, "M B"]


class TreasureRoom(TaskFamily):
    """Search a dark room for treasures among traps; in later episodes collect the former and avoid the latter.

    Task: the cells, uniform, and values of the objects. Observation: the cell, one-hot; objects are never seen. Action:
    up, right, down, left or stay; at a wall the agent stays where it is. Reward: the sum of the values of the objects
    in the cell that a step leads to, which are gone for the rest of the episode. Start: the centre; what lies there
    pays when a step leads to it. Termination: never. Optimal return: `optimal_return`.

    If the mean value is below 0, to explore costs reward at first.

    Differs from the paper: there the agent observes the two coordinates.

    Args:
        size: cells along each side.
        num_objects: n.
        meta_train: the distribution of each object's value in meta-training.
        meta_test: the same in meta-testing.

    Source: Norman & Clune (2024), arXiv:2307.02276.
    """

    size: Size
    num_objects: Objects
    meta_train: Values
    meta_test: Values

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions",)
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("num_objects",), "observation": ("size", "size")}
    starts_alike: ClassVar[bool] = True
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.values: dict[Split, Values] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        self.first = self.size // 2 * (self.size + 1)
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.size**2,))
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> TreasureRoomTask:
        n, device = self.num_objects, generator.device
        value = sample(self.values[split]["value"], num_tasks * n, generator).reshape(num_tasks, n)
        cell = torch.randint(self.size**2, (num_tasks, n), generator=generator, device=device)
        bits = (2 ** torch.arange(n, device=device)).expand(num_tasks, n)
        nothing = torch.zeros(num_tasks, self.size**2, dtype=torch.int64, device=device)
        return TreasureRoomTask(objects=nothing.scatter_add_(1, cell, bits), value=value)

    def reset(self, task: TreasureRoomTask, num_episodes: int, generator: torch.Generator) -> TreasureRoomState:
        shape, device = (task.num_tasks, num_episodes), generator.device
        return TreasureRoomState(
            cell=torch.full(shape, self.first, device=device),
            left=torch.full(shape, 2**self.num_objects - 1, device=device),
        )

    def step(
        self, task: TreasureRoomTask, state: TreasureRoomState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[TreasureRoomState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        cell = task.next_cell.take(state.cell.mul(len(MOVES)).add_(action))
        found = task.objects.gather(1, cell).bitwise_and_(state.left)
        reward = task.sums.gather(1, found)
        return TreasureRoomState(cell, found.bitwise_xor_(state.left)), reward, torch.zeros_like(cell, dtype=torch.bool)

    def observe(self, task: TreasureRoomTask, state: TreasureRoomState) -> Float[Tensor, "M B C"]:
        return one_hot(state.cell, self.size**2)

    def optimal_return(self, task: TreasureRoomTask) -> Float[Tensor, " M"]:
        """The largest return of an episode in each task, by dynamic programming over cells and sets of objects.

        V(c, L) = maxₐ R(c′, L) + V′(c′, L \\ objects(c′)),        c′ = next(c, a)
        """
        n, C = self.num_objects, self.size**2
        best = []
        for objects, sums in zip(task.objects, task.sums, strict=True):  # one by one: there are C · 2ⁿ states in each
            sets = torch.arange(2**n, device=objects.device)
            found = objects.unsqueeze(-1) & sets
            there = torch.arange(C, device=objects.device).unsqueeze(-1)
            value = torch.zeros(C, 2**n, dtype=torch.float64, device=objects.device)
            for _ in range(self.horizon):
                arriving = sums.double()[found] + value[there, found ^ sets]
                value = arriving[task.next_cell].amax(1)
            best.append(value[self.first, -1])
        return torch.stack(best).float()

    def render(self, task: TreasureRoomTask, state: TreasureRoomState, past: Sequence[Step] = ()) -> np.ndarray:
        """The room with the objects that are left, and the way of the agent."""
        left = int(state.left[0, 0])
        worth = {
            cell: float(task.sums[0, objects & left])
            for cell, objects in enumerate(task.objects[0].tolist())
            if objects & left
        }
        colours = {cell: TREASURE if value > 0 else TRAP for cell, value in worth.items()}
        return picture(self.size, colours, [int(place.cell) for place in (*(step.state for step in past), state)])
