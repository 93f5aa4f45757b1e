"""Task families: distributions over MDPs whose every operation acts on M tasks × B episodes at once.

A family holds no state: tasks and states are records of tensors that go in and come out, so the same dynamics serve
training, testing, planning and Gymnasium. Time limits, resets and `alive` belong to `TaskVectorEnv`, not to families.
"""

import functools
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, Reduction
from metarl_run.maths.planning import finite_horizon_q
from metarl_run.maths.statistics import COLUMNS, CURVE

Split = Literal["meta_train", "meta_test"]


@dataclass(frozen=True)
class Task:
    """A batch of MDPs; every field is a tensor whose leading axis is M. What follows from them is a property."""

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_tasks(self) -> int:
        return len(next(iter(vars(self).values())))

    def select(self, index: Any) -> "Task":
        """The tasks at `index`: a slice or an index tensor along M."""
        return type(self)(**{name: tensor[index] for name, tensor in self.tensors().items()})

    def computed(self) -> dict[str, Any]:
        """The fields and all cached properties: tensors and tuples of tensors."""
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, functools.cached_property):
                    getattr(self, name)
        return dict(vars(self))

    @classmethod
    def restored(cls, values: dict[str, Any]) -> "Task":
        """The inverse of `computed`."""
        task = object.__new__(cls)
        vars(task).update(values)
        return task

    def hashes(self) -> list[str]:
        """One fingerprint per task, equal only for equal parameters."""
        columns = [tensor.detach().cpu().contiguous() for tensor in self.tensors().values()]
        return [
            hashlib.blake2b(b"".join(c[i].numpy().tobytes() for c in columns), digest_size=8).hexdigest()
            for i in range(self.num_tasks)
        ]


class Step(NamedTuple):
    """A step of one environment of one task, as pictures show it.

    Attributes:
        state: before the step, a record of tensors `[1, 1, …]`.
        action: chosen in it, `[1, 1]` or `[1, 1, d]`.
        reward: of the step.
    """

    state: Any
    action: Tensor
    reward: float


class TaskFamily(Component, ABC):
    """A distribution over MDPs with one observation space, one action space and one episode limit.

    Args:
        horizon: steps after which an episode is truncated.

    Attributes:
        provides: capabilities that learners, networks and algorithms may require: `discrete_actions`,
            `continuous_actions`, `bandit` (with Bernoulli arms), `gaussian_bandit`, `tabular`. A tabular family has S
            states and A actions, and observes the state one-hot, `[M, B, S]`. Its tasks describe their MDP:
            `transition` P(s′ | s, a), `[M, S, A, S]`, whose rows sum to the probability that the episode continues;
            `mean_reward` E[r | s, a], `[M, S, A]`; and `start`, the distribution of the first state, `[M, S]`.
        requires: capabilities that other components must provide.
        sizes: arguments and numbers whose product is the size of a `task` or an `observation`, see
            `metarl_run.config.size`.
        outcomes: what an episode may be judged by besides its return, such as `success`: names, and how an episode's
            value follows from those of its steps, which `outcomes_of` gives.
        observation_space: of one environment: a Box of floats with one axis, D features.
        action_space: of one environment: Discrete, or a Box of floats with one axis; see `step`.
        starts_alike: start states have the same distribution in all tasks.
        fixed_starts: all episodes of a task begin in the same state: `reset` draws nothing.
        simulated: a step takes long: `step` has a fifth argument `alive`, `[M, B]`, and may leave other states as they
            are.
        envs: class of its parallel environments; None is `TaskVectorEnv`, which needs the methods below.
        compilable: `step` and `observe` never branch on values of tensors; see `metarl_run.compiled.rollouts`.
        normalisation: of observations and rewards as agents see them, `metarl_run.env.normalisation`; None for none.
        version: number of the definition, raised with every change of what a given task shows, pays or ends.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    sizes: ClassVar[dict[str, tuple[str | int, ...]]] = {}
    outcomes: ClassVar[Mapping[str, Reduction]] = {}
    horizon: Count
    observation_space: gymnasium.spaces.Box = field(init=False)
    action_space: gymnasium.spaces.Space[Any] = field(init=False)
    starts_alike: ClassVar[bool] = False
    fixed_starts: ClassVar[bool] = False
    compilable: ClassVar[bool] = False
    simulated: ClassVar[bool] = False
    envs: ClassVar[Any] = None
    version: ClassVar[int] = 1
    normalisation: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if taken := [name for name in self.outcomes if name in {*COLUMNS, *CURVE}]:
            raise ConfigError("env.outcomes", f"must have names that no column has, got {taken[0]}")

    @property
    def software(self) -> str | None:
        """Name and version of the package that holds the dynamics; None if this one does."""
        return None

    @property
    def full_version(self) -> str:
        """`1`, or `1 (mujoco 4.0.0)`; numbers of different ones are no results on the same benchmark."""
        return f"{self.version} ({self.software})" if self.software else str(self.version)

    @property
    def reward_unit(self) -> float:
        """Task's units of reward in one of the agent's."""
        return 1.0 if self.normalisation is None else float(self.normalisation.reward_unit)

    @abstractmethod
    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> Task:
        """Draw `num_tasks` tasks from the distribution of `split`, on the generator's device."""

    def all_tasks(self, split: Split) -> Task | None:
        """All tasks that `sample` can draw, if they are few enough to list; None for a continuum."""
        return None

    def bayes_optimal_returns(self, episodes: int) -> tuple[float, ...] | None:
        """Expected return of each episode of a lifetime of the best agent that knows how `meta_test` draws its tasks.

        No agent that is not told the task earns more in expectation. None if it is not known.
        """
        return None

    def bayes_optimal_bounds(self, episodes: int) -> tuple[float, float] | None:
        """Lower and upper bound on the sum of `bayes_optimal_returns`; None if not even these are known."""
        return None

    def optimal_action(self, task: Any, state: Tensor) -> Tensor | None:
        """An optimal first action of an episode from each of the states, the one with the lowest number on ties.

        Args:
            task: M tasks.
            state: numbers of states, `[M, B]`: places of the ones in one-hot observations.

        Returns:
            `[M, B]`; None if the family is not tabular.
        """
        if "tabular" not in self.provides:
            return None
        q = finite_horizon_q(task.transition.double(), task.mean_reward.double(), horizon=self.horizon)
        return q[:, 0].argmax(-1).gather(1, state)

    @abstractmethod
    def reset(self, task: Any, num_episodes: int, generator: torch.Generator) -> Any:
        """The first state of `num_episodes` episodes in each task: a NamedTuple of tensors `[M, B, …]`.

        They are overwritten, and `view` must be able to merge M and B; so too for those that `step` returns.
        """

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Tensor | None:
        """Random numbers of one step, `[K, M, B]`: the only randomness of the dynamics; None if there is none."""
        return None

    @abstractmethod
    def step(self, task: Any, state: Any, action: Tensor, noise: Any) -> tuple[Any, Tensor, Tensor]:
        """One step everywhere: the next state, reward `[M, B]`, terminated `[M, B]`. `state` must not be used again.

        Every action lies in `action_space`: policies choose among 0, …, A − 1, to which the `start` of a Discrete space
        is added, or real numbers, which are clipped to the bounds of a Box. (Rollouts record what the policy chose.)
        The next state may be `state` itself, overwritten, and the reward a tensor that every step returns.
        """

    @abstractmethod
    def observe(self, task: Any, state: Any) -> Tensor:
        """The observation of `state`: float32 `[M, B, D]`, not a view of it."""

    def outcomes_of(self, task: Any, state: Any) -> dict[str, Tensor]:
        """Outcomes of the step that led to `state`, each `[M, B]`; called only if there are any."""
        raise NotImplementedError(f"{type(self).__name__} declares outcomes and must define outcomes_of")

    def render(self, task: Any, state: Any, past: Sequence[Step] = ()) -> np.ndarray | None:
        """A picture of the state of one environment of one task, uint8 `[height, width, 3]`; None if there is none.

        Args:
            task: one task.
            state: of one environment, a record of tensors `[1, 1, …]`.
            past: steps of the episode that led to it, the latest last; of all episodes, if each is a single step.
        """
        return None

    def for_pictures(self) -> "TaskFamily":
        """The same family, able to draw its states if it ever is; its user closes it."""
        return self

    def close(self) -> None:
        """Give back what the family holds besides tensors, such as environments of another library."""
