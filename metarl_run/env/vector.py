"""M tasks × B environments of one family, stepped as tensors: horizon, alive, truncation and resets for all families.

There are two interfaces. Rollouts use `start` and `advance`: tensors `[M, B, …]`, and each environment runs a given
number of consecutive episodes. Gymnasium uses `reset` and `step`: arrays `[M·B, …]`, endless episodes, next-step
autoreset.

When an episode ends, its environment is reset at once, even if it has no episode left: so a family is never stepped
from a final state, and the padding that such an environment produces is finite. If environments run a single episode,
it is put back to its start state, which draws nothing; otherwise it is reset like the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.env.actions import dynamics_of, from_space
from metarl_run.env.base import Step, Task, TaskFamily
from metarl_run.env.check import check_once


class Transition(NamedTuple):
    """Outcome of one step.

    Attributes:
        observation: the next one to act on: after an end, the first of the next episode; after the last end, the final
            one.
        reward: 0 where not alive.
        terminated: the MDP ended.
        truncated: only the episode limit ended it; None if that happened nowhere.
        alive: the step is no padding: its environment had an episode left; None if all had.
        outcomes: `[M, B]` by name, see `TaskFamily.outcomes`; anything where not alive.
    """

    observation: Float[Tensor, "M B D"]
    reward: Float[Tensor, "M B"]
    terminated: Bool[Tensor, "M B"]
    truncated: Bool[Tensor, "M B"] | None
    alive: Bool[Tensor, "M B"] | None
    outcomes: Mapping[str, Float[Tensor, "M B"]] = {}

    @property
    def ended(self) -> Bool[Tensor, "M B"]:
        return self.terminated if self.truncated is None else self.terminated | self.truncated


def parallel(family: TaskFamily, task: Task, *, episodes_per_task: int, generator: torch.Generator) -> "TaskVectorEnv":
    """Parallel environments of a family; the arguments are those of `TaskVectorEnv`."""
    made: TaskVectorEnv = (family.envs or TaskVectorEnv)(
        family, task, episodes_per_task=episodes_per_task, generator=generator
    )
    return made


def put_back(state: Any, envs: Bool[Tensor, "M B"], start: Any) -> None:
    """Overwrite the state of some environments by their start state."""
    for old, new in zip(state, start, strict=True):
        torch.where(envs.view(*envs.shape, *[1] * (old.dim() - 2)), new, old, out=old)


def by_env(state: Any) -> list[Tensor]:
    """Views of a state's tensors, `[M · B, …]`."""
    return [x.view(x.shape[0] * x.shape[1], *x.shape[2:]) for x in state]


class TaskVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A batch of tasks with several environments each.

    Args:
        family: the dynamics; checked at its first use, see `metarl_run.env.check`.
        task: M tasks of that family.
        episodes_per_task: B, parallel environments per task.
        generator: randomness of resets and dynamics.
    """

    def __init__(self, family: TaskFamily, task: Task, *, episodes_per_task: int, generator: torch.Generator) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        check_once(family, task, episodes_per_task, generator.device)
        self.family, self.generator = family, generator
        self.dynamics = dynamics_of(family, generator.device)
        self._enter(task)
        self.num_tasks, self.episodes_per_task, self.horizon = task.num_tasks, episodes_per_task, family.horizon
        self.num_envs = self.num_tasks * episodes_per_task
        self.single_observation_space, self.single_action_space = family.observation_space, family.action_space
        self.observation_space = batch_space(family.observation_space, self.num_envs)
        self.action_space = batch_space(family.action_space, self.num_envs)
        self._state: Any = None

    def _enter(self, task: Task) -> None:
        self.task, self._first_task = task, task.select(slice(0, 1))

    @property
    def state(self) -> Any:
        """The family's state, which the next step overwrites."""
        return self._state

    @property
    def alive(self) -> Bool[Tensor, "M B"]:
        """Environments that have an episode left."""
        return self._alive

    def first_of(self, i: int = 0) -> Any:
        """A copy of the state of the first environment of task i."""
        return type(self._state)(*(x[i : i + 1, :1].clone() for x in self._state))

    def picture(self, task: Task, past: Sequence[Step] = ()) -> np.ndarray | None:
        """The first environment as its family draws it; None if it does not."""
        return self.family.render(task, self.first_of(), past)

    def start(self, episodes: int = 1) -> Float[Tensor, "M B D"]:
        """Begin a lifetime of `episodes` consecutive episodes in every environment; return the first observations."""
        shape, device = (self.num_tasks, self.episodes_per_task), self.generator.device
        self._state = self._first_states()
        self._now, self._first_limit = 0, self.horizon
        self._limit = torch.full(shape, self.horizon, dtype=torch.int32, device=device)  # time of the next truncation
        self._episodes_left = torch.full(shape, episodes, dtype=torch.int32, device=device)
        self._alive = torch.ones(shape, dtype=torch.bool, device=device)
        self._limits, self._lefts = self._limit.view(-1), self._episodes_left.view(-1)
        self._minus_ones = torch.full_like(self._lefts, -1)
        self._viewed: Any = None  # the state that `_views` belong to
        self._views, self._starts, self._used = list[Tensor](), list[Tensor](), self.num_envs
        self._all_alive, self._several_episodes = True, episodes > 1
        self._sure_episodes = episodes  # left in every environment, at least: counting is cheaper than looking
        self._start = None if episodes > 1 else type(self._state)(*(x.clone() for x in self._state))
        return self.family.observe(self.task, self._state)

    def _first_states(self) -> Any:
        """Start states of all environments."""
        return self.family.reset(self.task, self.episodes_per_task, self.generator)

    def advance(self, action: Tensor) -> Transition:
        """Take one step in every environment.

        Args:
            action: as a policy chooses it, see `TaskFamily.step`: `[M, B]`, or `[M, B, d]` if an action is d numbers;
                without effect where not alive.
        """
        alive, all_alive = self._alive, self._all_alive
        noise = self.family.noise(self.num_tasks, self.episodes_per_task, self.generator)
        padding = (alive,) if self.family.simulated and not all_alive else ()
        self._state, reward, terminated = self.dynamics(self.task, self._state, action, noise, *padding)
        outcomes = self.family.outcomes_of(self.task, self._state) if self.family.outcomes else {}
        self._now += 1
        ended, truncated = terminated, None
        if self._now == self._first_limit:  # a comparison costs more than most of a step
            ended = terminated | (self._limit <= self._now)
            truncated = ended ^ terminated
        if self._several_episodes:
            observation = self._begin_anew(ended)
        else:
            observation = self.family.observe(self.task, self._state)
            if ended.count_nonzero():
                self._retire(ended)
        if self._now == self._first_limit:
            self._first_limit = int(self._limit.min())
        if all_alive:
            return Transition(observation, reward, terminated, truncated, None, outcomes)
        truncated = None if truncated is None else truncated & alive
        return Transition(observation, reward * alive, terminated & alive, truncated, alive, outcomes)

    def _retire(self, envs: Bool[Tensor, "M B"]) -> None:
        """End the only episode of some environments."""
        put_back(self._state, envs, self._start)
        if self._now == self._first_limit:
            self._limit.masked_fill_(envs, self._now + self.horizon)
        self._alive, self._all_alive = self._episodes_left.masked_fill_(envs, 0).bool(), False

    def _begin_anew(self, envs: Bool[Tensor, "M B"]) -> Float[Tensor, "M B D"]:
        """Begin a new episode in these environments, if there are any.

        Only these are touched: with thousands of environments, of which a few end at a time, that halves a step's time.

        Returns:
            Observations of all environments: the first of the new episode if that one was left, else the final one.
        """
        where = envs.view(-1).nonzero()  # at once: counting first would cost half as much again
        number = where.shape[0]
        if not number:
            return self.family.observe(self.task, self._state)
        where = where.view(-1)
        last = self.family.observe(self.task, self._state) if self._sure_episodes <= 1 else None
        if number == self.num_envs:
            self._state = self._first_states()
        else:
            if self._viewed is not self._state:
                self._viewed, self._views = self._state, by_env(self._state)
            for old, new in zip(self._views, self._new_starts(where), strict=True):
                old.index_copy_(0, where, new)
        self._limits.index_fill_(0, where, self._now + self.horizon)
        self._lefts.scatter_add_(0, where, self._minus_ones)
        self._sure_episodes -= 1
        observation = self.family.observe(self.task, self._state)
        if last is None:
            return observation
        self._alive = self._episodes_left > 0
        self._all_alive = bool(self._alive.all())
        return torch.where(self._alive.unsqueeze(-1), observation, last)

    def _new_starts(self, where: Tensor) -> list[Tensor]:
        """Start states, one for each of some environments; drawn ahead if all tasks share their distribution."""
        if not self.family.starts_alike:
            task = self.task.select(where // self.episodes_per_task)
            return by_env(self.family.reset(task, 1, self.generator))
        begin, end = self._used, self._used + where.shape[0]
        if end > self.num_envs:
            self._starts = by_env(self.family.reset(self._first_task, self.num_envs, self.generator))
            begin, end = 0, where.shape[0]
        self._used = end
        return [x[begin:end] for x in self._starts]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first observations of all environments, those of a task in a row.

        Args:
            seed: reseeds the generator.
            options: `task` replaces the tasks by as many others.
        """
        super().reset(seed=seed)
        if seed is not None:
            self.generator.manual_seed(seed)
        task = (options or {}).get("task", self.task)
        if task.num_tasks != self.num_tasks:
            raise ValueError(f"options['task'] must hold {self.num_tasks} tasks, got {task.num_tasks}")
        self._enter(task)
        return self._flat(self.start()), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step in every environment; one whose episode ended at the step before is reset instead."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("step was called before reset; call reset first")
        waiting = ~self._alive
        action = from_space(actions, self.single_action_space, self.generator.device)
        transition = self.advance(action.reshape(self.num_tasks, self.episodes_per_task, *action.shape[1:]))
        observation = transition.observation
        if waiting.any():
            self._episodes_left.masked_fill_(waiting, 2)  # the finished one, and the next
            observation = torch.where(waiting.unsqueeze(-1), self._begin_anew(waiting), observation)
        truncated = transition.ended ^ transition.terminated
        reward = self._flat(transition.reward).astype(np.float64)
        return self._flat(observation), reward, self._flat(transition.terminated), self._flat(truncated), {}

    def _flat(self, x: Tensor) -> np.ndarray:
        return x.flatten(0, 1).cpu().numpy()
