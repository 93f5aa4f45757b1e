"""Dark Room: an empty grid whose goal cell is not observed."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from metarl_run.env.base import Step, Task
from metarl_run.env.drawing import GOAL, mixed
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
    table_of_moves,
)
from metarl_run.kinds import AnyOrCell, Interval, TasksOf
from metarl_run.maths.goal_search import Search, expected_returns
from metarl_run.maths.goal_search_bounds import proven_plan, return_bounds

Size = Annotated[int, Interval(int, 2, 40)]
Goal = Annotated[int | str, AnyOrCell("size")]
Share = Annotated[dict[str, Any], TasksOf("size", goal="goal", permuted="permuted_actions")]
Others = Annotated[dict[str, Any], TasksOf("size", goal="goal", permuted="permuted_actions", beside="meta_train")]

PERMUTATIONS = list(itertools.permutations(range(len(MOVES))))
"""Of the five actions, the identity first."""

REWARDS = {"goal_reward": 1.0, "step_reward": 0.0}


@dataclass(frozen=True)
class DarkRoomTask(Task):
    """M rooms. A state is a cell or, where the goal pays once, a cell and whether it has paid: s = cells · paid + cell.

    Attributes:
        goal: its cell.
        moves: the move that each action makes: up, right, down, left, stay.
        start: the distribution of the first state.
        ends: reaching the goal ends the episode.
    """

    goal: Int[Tensor, " M"]
    moves: Int[Tensor, "M A"]
    start: Float[Tensor, "M S"]
    ends: Bool[Tensor, " M"]

    @property
    def pays_once(self) -> bool:
        """A state says whether the goal has paid: twice a square is no square."""
        S = self.start.shape[1]
        return side_of(S) ** 2 != S

    @property
    def num_cells(self) -> int:
        S = self.start.shape[1]
        return S // 2 if self.pays_once else S

    @functools.cached_property
    def next_state(self) -> Int[Tensor, "S A"]:
        """The state that each move leads to, in any task, but for a payment."""
        cells = next_cells(side_of(self.num_cells), self.goal.device)
        return torch.cat([cells, cells + len(cells)]) if self.pays_once else cells

    @functools.cached_property
    def goal_column(self) -> Int[Tensor, "M 1"]:
        return self.goal.unsqueeze(-1)

    @property
    def next_states(self) -> Int[Tensor, "M S A"]:
        """The state that each action leads to, but for a payment."""
        return self.next_state[:, self.moves].movedim(1, 0)

    @property
    def mean_reward(self) -> Float[Tensor, "M S A"]:
        return (self.next_states == self.goal[:, None, None]).float()

    @property
    def transition(self) -> Float[Tensor, "M S A S"]:
        """P(s′ | s, a)."""
        then = self.next_states
        arrives = then == self.goal[:, None, None]
        if self.pays_once:
            then = then + self.num_cells * arrives
        return probabilities(then, ~(arrives & self.ends[:, None, None]))


class DarkRoomState(NamedTuple):
    """Number of the state."""

    number: Int[Tensor, "M B"]


class DarkRoom(Grid):
    """Search a dark room for the goal, which only the reward reveals; in later episodes go straight to it.

    Task: the goal, and the move that each action makes. Observation: the state, one-hot: the cell and, with reward
    `once`, whether the goal has paid in this episode. Action: up, right, down, left or stay, in another order in each
    task if `permuted_actions`; at a wall the agent stays where it is. Reward: 1 for a step that leads to the goal, with
    `once` and `end` only for the first such step of an episode; else 0. Start: see `start`. Termination: with `end` at
    the goal, else never. Optimal return with the goal d ≥ 1 steps from the start: horizon − d + 1 with `every_step`,
    else 1, if d ≤ horizon.

    Differs from the papers: there the agent observes the two coordinates, and never whether the goal has paid.

    Args:
        size: cells along each side.
        reward: `every_step`, `once`, or `end`: once, and that ends the episode.
        start: `corner`, cell 0; `centre`; or `uniform`, any cell, the goal included, equally likely.
        goal: `any` cell, the start included, or the one where it is in all tasks.
        permuted_actions: each of the 120 orders of the actions makes a task of its own.
        meta_train: how many of the tasks are for meta-training, or `all`.
        meta_test: the same for meta-testing, taken from the rest unless one of both has `all`.

    Raises:
        ValueError: if the splits would have more tasks than there are.

    Source: Laskin et al. (2022), arXiv:2210.14215; Lee et al. (2023), arXiv:2306.14892, also for permuted actions.
    """

    size: Size
    reward: Literal["every_step", "once", "end"]
    start: Literal["corner", "centre", "uniform"]
    goal: Goal
    permuted_actions: bool
    meta_train: Share
    meta_test: Others

    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("size", "size"), "observation": ("size", "size")}

    def __post_init__(self) -> None:
        super().__post_init__()
        cells = self.size**2
        goals = cells if self.goal == "any" else 1
        self.prepare(
            num_states=cells * (2 if self.reward == "once" else 1),
            num_tasks=goals * (len(PERMUTATIONS) if self.permuted_actions else 1),
            splits=(self.meta_train, self.meta_test),
        )
        self.start_at(start_cell(self.start, self.size))

    def task_of(self, number: Int[Tensor, " M"]) -> DarkRoomTask:
        M, device = len(number), number.device
        orders = torch.tensor(PERMUTATIONS if self.permuted_actions else PERMUTATIONS[:1], device=device)
        goal = number // len(orders) if self.goal == "any" else torch.full_like(number, int(self.goal))
        return DarkRoomTask(
            goal=goal,
            moves=orders[number % len(orders)],
            start=self.first_states(self.size**2, device).expand(M, -1),
            ends=torch.tensor(self.reward == "end", device=device).expand(M),
        )

    def bayes_optimal_returns(self, episodes: int) -> tuple[float, ...] | None:
        """See `metarl_run.maths.goal_search`: exact if all episodes start alike and the goals are few.

        The best agent knows which goals meta-testing has; an agent that was trained on others cannot.
        """
        if self.first is None or self.permuted_actions:
            return None
        search, plan = self.search, proven_plan(self.search, episodes)
        return None if plan is None else expected_returns(search, plan, episodes, **REWARDS)

    def bayes_optimal_bounds(self, episodes: int) -> tuple[float, float] | None:
        if self.first is None or self.permuted_actions:
            return None
        return return_bounds(self.search, episodes, **REWARDS)

    @property
    def search(self) -> Search:
        """For a goal of meta-testing, from one cell."""
        assert self.first is not None
        goals = tuple(self.all_tasks("meta_test").goal.tolist())
        once = self.reward != "every_step"
        return Search(table_of_moves(self.size), self.first, goals, horizon=self.horizon, pays_once=once)

    def reset(self, task: DarkRoomTask, num_episodes: int, generator: torch.Generator) -> DarkRoomState:
        return DarkRoomState(self.draw_first(self.size**2, (task.num_tasks, num_episodes), generator))

    def step(
        self, task: DarkRoomTask, state: DarkRoomState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[DarkRoomState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        move = task.moves.gather(1, action) if self.permuted_actions else action
        number = task.next_state.take(state.number.mul(len(MOVES)).add_(move))
        arrives = number == task.goal_column  # never once the goal has paid
        if self.reward == "once":
            number.add_(arrives, alpha=self.size**2)
        ends = arrives if self.reward == "end" else torch.zeros_like(arrives)
        return DarkRoomState(number), arrives.float(), ends

    def observe(self, task: DarkRoomTask, state: DarkRoomState) -> Float[Tensor, "M B S"]:
        return one_hot(state.number, self.num_states)

    def optimal_action(self, task: DarkRoomTask, state: Int[Tensor, "M B"]) -> Int[Tensor, "M B"]:
        """Towards the goal first up or down, then right or left, then stay, as the labels of DPT are made."""
        move = straight_move(state % self.size**2, task.goal_column, self.size)
        return task.moves.argsort(-1).gather(1, move)

    def render(self, task: DarkRoomTask, state: DarkRoomState, past: Sequence[Step] = ()) -> np.ndarray:
        """The room with its goal, and the way of the agent."""
        cells = [int(place.number) % self.size**2 for place in (*(step.state for step in past), state)]
        return picture(self.size, {int(task.goal[0]): mixed(GOAL, 0.45)}, cells)
