"""Random tabular MDPs: transition rows from a Dirichlet, mean rewards from one distribution."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.drawing import ACCENT, GOAL, INK, MUTED, TRAIL, WHITE, Canvas, bars, mixed
from metarl_run.env.parameter import sample
from metarl_run.kinds import Count, Distributions, NonNegative, Several

MDPs = Annotated[dict[str, Any], Distributions("mean_reward", "concentration", positive=("concentration",))]


@dataclass(frozen=True)
class RandomMDPTask(Task):
    """M tabular MDPs.

    Attributes:
        transition: P(s′ | s, a).
        mean_reward: of r(s, a).
    """

    transition: Float[Tensor, "M S A S"]
    mean_reward: Float[Tensor, "M S A"]

    @property
    def start(self) -> Float[Tensor, "M S"]:
        """The distribution of the first state: always state 0."""
        start = torch.zeros_like(self.mean_reward[..., 0])
        start[:, 0] = 1.0
        return start

    @functools.cached_property
    def first_row(self) -> Int[Tensor, "M 1"]:
        """Index of each task's first row (s, a) when the rows of all tasks are stacked."""
        M, S, A = self.mean_reward.shape
        return (torch.arange(M, device=self.mean_reward.device) * S * A)[:, None]

    @functools.cached_property
    def thresholds(self) -> Float[Tensor, "MSA S_minus_1"]:
        """P(next ≤ s′ | s, a) for all s′ but the last, row by row; computed once per batch of tasks."""
        return self.transition.double().cumsum(-1)[..., :-1].flatten(0, 2).float()


class RandomMDPState(NamedTuple):
    """Index of the state."""

    number: Int[Tensor, "M B"]


class RandomMDP(TaskFamily):
    """Explore and exploit a small MDP of which only the size is known.

    Task: P(· | s, a) ~ Dirichlet(c, …, c), mean reward μ(s, a) from `mean_reward`. Observation: the state, one-hot.
    Action: one of A. Reward: N(μ(s, a), σ²). Start: state 0. Termination: never. Optimal expected return: by
    value iteration over the horizon (`metarl_run.maths.planning`).

    Args:
        num_states: S.
        num_actions: A.
        reward_deviation: σ, standard deviation of a reward.
        meta_train: the distributions of each mean reward, and of each task's concentration c, in meta-training.
        meta_test: the same in meta-testing.

    Raises:
        ValueError: if a concentration could be drawn ≤ 0.

    Source: Duan et al. (2016), arXiv:1611.02779.
    """

    num_states: Count
    num_actions: Several
    reward_deviation: NonNegative
    meta_train: MDPs
    meta_test: MDPs

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "tabular")
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {
        "task": ("num_states", "num_actions", "num_states"),
        "observation": ("num_states",),
    }
    fixed_starts: ClassVar[bool] = True
    compilable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.distributions: dict[Split, MDPs] = {"meta_train": self.meta_train, "meta_test": self.meta_test}
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (self.num_states,))
        self.action_space = gymnasium.spaces.Discrete(self.num_actions)

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> RandomMDPTask:
        M, S, A = num_tasks, self.num_states, self.num_actions
        distributions = self.distributions[split]
        concentration = sample(distributions["concentration"], M, generator)
        return RandomMDPTask(
            transition=symmetric_dirichlet(concentration[:, None, None, None].expand(M, S, A, S), generator),
            mean_reward=sample(distributions["mean_reward"], M * S * A, generator).view(M, S, A),
        )

    def reset(self, task: RandomMDPTask, num_episodes: int, generator: torch.Generator) -> RandomMDPState:
        return RandomMDPState(torch.zeros(task.num_tasks, num_episodes, dtype=torch.int64, device=generator.device))

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Float[Tensor, "2 M B"]:
        """u ~ U[0, 1) selects the next state, ε ~ N(0, 1) is the noise of the reward."""
        noise = torch.empty(2, num_tasks, num_episodes, device=generator.device)
        u, ε = noise.unbind()
        u.uniform_(generator=generator)
        ε.normal_(generator=generator)
        return noise

    def step(
        self, task: RandomMDPTask, state: RandomMDPState, action: Int[Tensor, "M B"], noise: Float[Tensor, "2 M B"]
    ) -> tuple[RandomMDPState, Tensor, Tensor]:
        u, ε = noise.unbind()
        row = state.number.mul(self.num_actions).add_(action).add_(task.first_row)
        thresholds = task.thresholds.index_select(0, row.flatten()).view(*row.shape, -1)
        # The inverse of the cumulative distribution.
        number = torch.searchsorted(thresholds, u.unsqueeze(-1), right=True).squeeze(-1)
        reward = torch.add(task.mean_reward.take(row), ε, alpha=self.reward_deviation)
        return RandomMDPState(number), reward, torch.zeros_like(row, dtype=torch.bool)

    def observe(self, task: RandomMDPTask, state: RandomMDPState) -> Float[Tensor, "M B S"]:
        # torch.nn.functional.one_hot checks all values first
        return (state.number.unsqueeze(-1) == torch.arange(self.num_states, device=state.number.device)).float()

    def render(self, task: RandomMDPTask, state: RandomMDPState, past: Sequence[Step] = ()) -> np.ndarray:
        """The states in a circle, greener the better their best action pays, and the way of the agent.

        Within: the mean rewards of the actions in the state that it comes from, the chosen one in colour.
        """
        canvas = Canvas(-1.2, 1.2)
        turn = 2 * math.pi / self.num_states
        places = [(math.sin(turn * s), math.cos(turn * s)) for s in range(self.num_states)]
        radius = min(15.0, 0.4 * turn * canvas.scale)
        way = [int(place.number) for place in (*(step.state for step in past), state)]
        canvas.line([places[s] for s in way], TRAIL, 1)
        if past:
            came, arrived = places[way[-2]], places[way[-1]]
            canvas.line([came, arrived], ACCENT, 2)
        best = task.mean_reward[0].amax(-1)
        green = ((best - best.min()) / (best.max() - best.min()).clamp(min=1e-6)).tolist()
        for s, place in enumerate(places):
            canvas.dot(place, radius, ACCENT if s == way[-1] else mixed(GOAL, 0.1 + 0.6 * green[s]))
            if radius >= 8:
                canvas.text(place, str(s), WHITE if s == way[-1] else INK)
        at, chosen = (way[-2], int(past[-1].action)) if past else (way[-1], None)
        canvas.box((-0.52, -0.46), (0.52, 0.46), WHITE, outline=None)
        bars(canvas, (-0.46, -0.26), (0.46, 0.26), task.mean_reward[0, at].tolist(), chosen)
        canvas.text((0, 0.36), f"actions in state {at}", MUTED, size=10)
        if past:
            canvas.text((0, -0.37), f"latest reward {past[-1].reward:.1f}", size=10)
        return canvas.array()


def symmetric_dirichlet(concentration: Tensor, generator: torch.Generator) -> Tensor:
    """Points of the simplex along the last axis, from Dirichlet(c, …, c), for any c > 0.

        p = softmax(log g),        log gᵢ = log Γ-draw(c + 1) + log(uᵢ) / c

    Unlike normalised Gamma(c) draws, these do not underflow where c is small.

    Args:
        concentration: c, repeated along the last axis.
        generator: the only randomness used.

    Source: Marsaglia & Tsang (2000), for Gamma(c) from Gamma(c + 1) and a uniform.
    """
    c = concentration.double()
    gamma = torch._standard_gamma(c + 1, generator=generator)
    u = torch.rand(c.shape, dtype=c.dtype, generator=generator, device=c.device)
    return (gamma.log() + u.log() / c).softmax(-1).float()
