"""A small grid with one hidden goal cell."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import GOAL, mixed
from metarl_run.env.grid import MOVES, picture, table_of_moves
from metarl_run.env.parameter import in_turn
from metarl_run.kinds import Above, Cells, Interval, Real
from metarl_run.maths.goal_search import Search, expected_returns
from metarl_run.maths.goal_search_bounds import proven_plan, return_bounds

Places = Annotated[dict[str, Any], Cells("goals", "size")]
Size = Annotated[int, Interval(int, 3)]


@dataclass(frozen=True)
class GridWorldTask(Task):
    """M square grids. Cells are numbered row after row: s = size · y + x.

    Attributes:
        reward: of a step that leads to cell s; largest at the goal.
    """

    reward: Float[Tensor, "M S"]

    @property
    def goal(self) -> Int[Tensor, " M"]:
        """The goal cell."""
        return self.reward.argmax(-1)

    @functools.cached_property
    def next_cell(self) -> Int[Tensor, "S A"]:
        """The cell that each action leads to, in any task; an agent that would leave the grid stays."""
        side = torch.arange(math.isqrt(self.reward.shape[1]), device=self.reward.device)
        place = torch.cartesian_prod(side, side).unsqueeze(1) + torch.tensor(MOVES, device=side.device)
        y, x = place.clamp(0, len(side) - 1).unbind(-1)
        return len(side) * y + x

    @property
    def transition(self) -> Float[Tensor, "M S A S"]:
        """P(s′ | s, a)."""
        M, S = self.reward.shape
        return one_hot(self.next_cell, S).float().expand(M, -1, -1, -1)

    @property
    def mean_reward(self) -> Float[Tensor, "M S A"]:
        return self.reward[:, self.next_cell]

    @property
    def start(self) -> Float[Tensor, "M S"]:
        """The distribution of the first state: always cell 0."""
        start = torch.zeros_like(self.reward)
        start[:, 0] = 1.0
        return start


class GridWorldState(NamedTuple):
    """Index of the cell."""

    cell: Int[Tensor, "M B"]


class GridWorld(TaskFamily):
    """Search a grid for the goal, then stay there; in later episodes go straight to it.

    Task: the goal, uniform over the cells that the split allows. Observation: the cell, one-hot. Action: up, right,
    down, left or stay; at a wall the agent stays where it is. Reward: goal_reward for a step that leads to the goal,
    step_reward for any other. Start: cell 0, the corner (0, 0). Termination: never. Optimal return with the goal d
    steps from the start: (d − 1) · step_reward + (horizon − d + 1) · goal_reward if d ≤ horizon.

    With `goals: all` the goal is anywhere but in the start and its three neighbours, as in the paper. These are few
    tasks, size² − 4, so meta-training and meta-testing draw the same ones: results measure how fast an agent identifies
    its task, not whether it generalises. For that, give each split goals of its own.

    Differs from the paper: there the agent observes the two coordinates. Goals of one batch are drawn without
    replacement: each of G goals gets ⌊M / G⌋ or ⌈M / G⌉ of M tasks. Each task is still uniform; means over many vary
    less.

    Args:
        size: cells along each side.
        step_reward: of a step that does not lead to the goal.
        goal_reward: of one that does, above step_reward.
        meta_train: the cells that goals are drawn from in meta-training, `all` or their indices size · y + x.
        meta_test: the same in meta-testing.

    Raises:
        ValueError: if the goal pays no more than other cells, or the goals are not different cells besides the start.

    Source: Zintgraf et al. (2020), arXiv:1910.08348.
    """

    size: Size
    step_reward: Real
    goal_reward: Annotated[float, Interval(float), Above("step_reward")]
    meta_train: Places
    meta_test: Places

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular")
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("size", "size"), "observation": ("size", "size")}
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.goals: dict[Split, list[int]] = {
            "meta_train": self._goals(self.meta_train),
            "meta_test": self._goals(self.meta_test),
        }
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.size**2,))
        self.action_space = gymnasium.spaces.Discrete(len(MOVES))

    def _goals(self, places: dict[str, Any]) -> list[int]:
        """Indices of the cells that `places` allows."""
        if places["goals"] == "all":
            return [cell for cell in range(self.size**2) if max(divmod(cell, self.size)) > 1]
        return list(places["goals"])

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> GridWorldTask:
        goals = torch.tensor(self.goals[split], device=generator.device)
        return self._with_goals(in_turn(goals, num_tasks, generator).unsqueeze(-1))

    def all_tasks(self, split: Split) -> GridWorldTask:
        return self._with_goals(torch.tensor(self.goals[split]).unsqueeze(-1))

    def bayes_optimal_returns(self, episodes: int) -> tuple[float, ...] | None:
        """See `metarl_run.maths.goal_search`: exact if the goals are few."""
        search, plan = self.search, proven_plan(self.search, episodes)
        return None if plan is None else expected_returns(search, plan, episodes, **self._rewards)

    def bayes_optimal_bounds(self, episodes: int) -> tuple[float, float]:
        return return_bounds(self.search, episodes, **self._rewards)

    @property
    def _rewards(self) -> dict[str, float]:
        return {"goal_reward": self.goal_reward, "step_reward": self.step_reward}

    @property
    def search(self) -> Search:
        """For a goal of meta-testing."""
        goals = tuple(self.goals["meta_test"])
        return Search(table_of_moves(self.size), start=0, goals=goals, horizon=self.horizon, pays_once=False)

    def _with_goals(self, goal: Int[Tensor, "M 1"]) -> GridWorldTask:
        reward = torch.full((len(goal), self.size**2), float(self.step_reward), device=goal.device)
        return GridWorldTask(reward=reward.scatter_(1, goal, float(self.goal_reward)))

    def reset(self, task: GridWorldTask, num_episodes: int, generator: torch.Generator) -> GridWorldState:
        return GridWorldState(torch.zeros(task.num_tasks, num_episodes, dtype=torch.int64, device=generator.device))

    def step(
        self, task: GridWorldTask, state: GridWorldState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[GridWorldState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        cell = task.next_cell.take(state.cell.mul(len(MOVES)).add_(action))
        return GridWorldState(cell), task.reward.gather(1, cell), torch.zeros_like(cell, dtype=torch.bool)

    def observe(self, task: GridWorldTask, state: GridWorldState) -> Float[Tensor, "M B S"]:
        # torch.nn.functional.one_hot checks all values first
        return (state.cell.unsqueeze(-1) == torch.arange(self.size**2, device=state.cell.device)).float()

    def render(self, task: GridWorldTask, state: GridWorldState, past: Sequence[Step] = ()) -> np.ndarray:
        """The grid with its goal, and the way of the agent."""
        cells = [int(place.cell) for place in (*(step.state for step in past), state)]
        return picture(self.size, {int(task.goal[0]): mixed(GOAL, 0.45)}, cells)
