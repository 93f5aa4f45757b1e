"""T-maze: a corridor whose start tells on which side of the junction at its end the reward is."""

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
from metarl_run.env.drawing import GOAL, INK, PALE, SIZE, Canvas
from metarl_run.env.grid import DOWN, UP, one_hot, probabilities
from metarl_run.env.parameter import listed, sample_alone
from metarl_run.kinds import LARGEST, Above, Count, Distributions, Interval, Real

Sides = Annotated[dict[str, Any], Distributions("side", among={"side": (0, 1)})]
Horizon = Annotated[int, Interval(int, 1, LARGEST), Above("length")]
"""Steps per episode: more than `length`, or no arm could be reached."""

ACTIONS = 4
FORWARD = (0, 1, 0, -1)
"""Steps along the corridor of up, right, down and left."""


@dataclass(frozen=True)
class TMazeTask(Task):
    """M mazes. States 0 and 1 are the start with the signal up and down; state 1 + p is the place p > 0.

    Attributes:
        side: where signal and reward are: 0 up, 1 down.
        mean_reward: of each action in each state.
    """

    side: Int[Tensor, " M"]
    mean_reward: Float[Tensor, "M S A"]

    @functools.cached_property
    def next_place(self) -> Int[Tensor, "S A"]:
        """The place that each action leads to, in any task; arms are left aside."""
        place = torch.arange(-1, self.mean_reward.shape[1] - 1, device=self.side.device).clamp(min=0).unsqueeze(-1)
        return (place + torch.tensor(FORWARD, device=place.device)).clamp(0, int(place.max()))

    @functools.cached_property
    def signal(self) -> Int[Tensor, "M 1"]:
        """Number of the start."""
        return self.side.unsqueeze(-1)

    @property
    def transition(self) -> Float[Tensor, "M S A S"]:
        """P(s′ | s, a): the arms end the episode."""
        place = self.next_place.expand(self.mean_reward.shape)
        goes_on = torch.ones_like(place, dtype=torch.bool)
        goes_on[:, -1, [UP, DOWN]] = False
        return probabilities(number_of(place, self.signal.unsqueeze(-1)), goes_on)

    @property
    def start(self) -> Float[Tensor, "M S"]:
        """The distribution of the first state."""
        return one_hot(self.side, self.mean_reward.shape[1])


def number_of(place: Tensor, signal: Tensor) -> Tensor:
    """The state of an agent at this place."""
    return torch.where(place == 0, signal, place + 1)


class TMazeState(NamedTuple):
    """Number of the state."""

    number: Int[Tensor, "M B"]


class TMaze(TaskFamily):
    """Remember a signal along a corridor, and turn to its side at the end.

    Task: the side of signal and reward. Observation: the state, one-hot: the start with its signal, or the place in the
    corridor, which tells nothing of the side. Action: up, right, down or left; the corridor runs to the right, and only
    at the junction at its end does up or down lead anywhere: into an arm, which ends the episode. Reward: goal_reward
    in the arm on the side of the signal, wrong_reward in the other, step_reward for any other step. Start: place 0.
    Termination: in an arm. Optimal return: length · step_reward + goal_reward, unless other rewards pay more.

    In the first episode of a lifetime an agent without a memory of the signal is right half of the time; in later ones
    the reward tells the side, too.

    Args:
        length: steps from the start to the junction.
        goal_reward: of the right arm.
        wrong_reward: of the wrong one.
        step_reward: of any other step.
        meta_train: the distribution of the side in meta-training, 0 up or 1 down.
        meta_test: the same in meta-testing.

    Raises:
        ValueError: if the horizon is not above the length.

    Source: Bakker (2001), "Reinforcement learning with Long Short-Term Memory".
    """

    horizon: Horizon
    length: Count
    goal_reward: Real
    wrong_reward: Real
    step_reward: Real
    meta_train: Sides
    meta_test: Sides

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular")
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {"task": ("length", 4), "observation": ("length",)}
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sides: dict[Split, Sides] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.length + 2,))
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> TMazeTask:
        return self._with_sides(sample_alone(self.sides[split]["side"], num_tasks, generator))

    def all_tasks(self, split: Split) -> TMazeTask:
        sides = listed(self.sides[split]["side"])
        assert sides is not None  # never a continuum
        return self._with_sides(sides)

    def _with_sides(self, sides: Float[Tensor, " M"]) -> TMazeTask:
        side = sides.long()
        reward = torch.full((len(side), self.length + 2, ACTIONS), float(self.step_reward), device=side.device)
        right, wrong = 2 * side, 2 * (1 - side)  # UP is 0, DOWN 2
        reward[:, -1].scatter_(1, right.unsqueeze(-1), float(self.goal_reward))
        reward[:, -1].scatter_(1, wrong.unsqueeze(-1), float(self.wrong_reward))
        return TMazeTask(side=side, mean_reward=reward)

    def reset(self, task: TMazeTask, num_episodes: int, generator: torch.Generator) -> TMazeState:
        return TMazeState(task.signal.repeat(1, num_episodes))

    def step(
        self, task: TMazeTask, state: TMazeState, action: Int[Tensor, "M B"], noise: None
    ) -> tuple[TMazeState, Float[Tensor, "M B"], Bool[Tensor, "M B"]]:
        row = state.number.mul(ACTIONS).add_(action)
        reward = task.mean_reward.flatten(1).gather(1, row)
        arm = (state.number == self.length + 1) & (action % 2 == 0)
        return TMazeState(number_of(task.next_place.take(row), task.signal)), reward, arm

    def observe(self, task: TMazeTask, state: TMazeState) -> Float[Tensor, "M B S"]:
        return one_hot(state.number, self.length + 2)

    def render(self, task: TMazeTask, state: TMazeState, past: Sequence[Step] = ()) -> np.ndarray:
        """The corridor with the signal at its start and the paying end."""
        number, up = int(state.number[0, 0]), int(task.side[0]) == 0
        end = float(self.length)
        canvas = Canvas(-1.0, end + 2.0)
        y = (end + 1) / 2
        canvas.box((0, y - 0.5), (end + 1, y + 0.5), (255, 255, 255), outline=PALE)
        canvas.box((end, y + 0.5), (end + 1, y + 1.5), GOAL if up else (255, 255, 255), outline=PALE)
        canvas.box((end, y - 1.5), (end + 1, y - 0.5), (255, 255, 255) if up else GOAL, outline=PALE)
        tip = 0.4 if up else -0.4  # the signal
        canvas.line([(0.2, y), (0.5, y + tip), (0.8, y)], INK)
        canvas.dot((max(number - 1, 0) + 0.5, y), max(SIZE / (end + 3) / 4, 2))
        return canvas.array()
