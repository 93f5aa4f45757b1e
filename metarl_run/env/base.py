"""What a task family is: a distribution over MDPs whose every operation acts on M tasks × B episodes at once.

A family holds no state: tasks and states are records of tensors that go in and come out, so the same dynamics serve
training, testing, planning and Gymnasium. Time limits, resets and `alive` belong to `TaskVectorEnv`, not to families.
"""

import functools
import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import gymnasium
import torch
from torch import Tensor

from metarl_run.component import Component, field
from metarl_run.kinds import Count

Split = Literal["meta_train", "meta_test"]


@dataclass(frozen=True)
class Task:
    """A batch of MDPs; every field is a tensor whose leading axis is M. What can be computed is a property."""

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def num_tasks(self) -> int:
        return len(next(iter(vars(self).values())))

    def select(self, index: Any) -> "Task":
        """The tasks at `index`: a slice or an index tensor along M."""
        return type(self)(**{name: tensor[index] for name, tensor in self.tensors().items()})

    def computed(self) -> dict[str, Any]:
        """The fields, and whatever is computed of them once: tensors and tuples of tensors."""
        for kind in type(self).__mro__:
            for name, value in vars(kind).items():
                if isinstance(value, functools.cached_property):
                    getattr(self, name)
        return dict(vars(self))

    @classmethod
    def restored(cls, values: dict[str, Any]) -> Self:
        """The tasks of which `computed` gave these values."""
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


class TaskFamily(Component, ABC):
    """A distribution over MDPs with one observation space, one action space and one episode limit.

    Args:
        horizon: steps after which an episode is truncated.

    Attributes:
        provides: what the family offers to learners and networks, in the words that their `requires` use:
            `discrete_actions`, `continuous_actions`, `bandit` (of Bernoulli arms), `tabular`. A tabular family has S
            states and A actions, and observes the state one-hot, `[M, B, S]`. Its tasks say their MDP: `transition`
            P(s′ | s, a), `[M, S, A, S]`, whose rows sum to the probability that the episode goes on; `mean_reward`
            E[r | s, a], `[M, S, A]`; and `start`, the distribution of the first state, `[M, S]`.
        observation_space: of ONE environment.
        action_space: of ONE environment.
        starts_alike: first states are drawn alike in all tasks.
        fixed_starts: a task's episodes all begin in one state: `reset` draws nothing.
        compilable: `step` and `observe` compute with tensors without looking at their values; see
            `metarl_run.compiled.rollouts`.
    """

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    horizon: Count
    observation_space: gymnasium.spaces.Box = field(init=False)
    action_space: gymnasium.spaces.Space[Any] = field(init=False)
    starts_alike: ClassVar[bool] = False
    fixed_starts: ClassVar[bool] = False
    compilable: ClassVar[bool] = False

    @abstractmethod
    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> Task:
        """`num_tasks` tasks drawn from the distribution of `split`, on the generator's device."""

    def all_tasks(self, split: Split) -> Task | None:
        """Every task that `sample` can draw, if they are few enough to list; None of a continuum."""
        return None

    @abstractmethod
    def reset(self, task: Any, num_episodes: int, generator: torch.Generator) -> Any:
        """The first state of `num_episodes` episodes in each task: a NamedTuple of tensors `[M, B, …]`.

        They are written into, and `view` must be able to make one axis of M and B, as of those that `step` returns.
        """

    def noise(self, num_tasks: int, num_episodes: int, generator: torch.Generator) -> Tensor | None:
        """What chance decides in one step, `[K, M, B]`: the only randomness of the dynamics, if there is any."""
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
        """What the agent sees of `state`: float32 `[M, B, D]`, no view of it."""
