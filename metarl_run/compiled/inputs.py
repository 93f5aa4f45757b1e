"""What stays as it is while a compiled program runs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from metarl_run.env.base import Task
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.types import Params


class Given:
    """Parameters, the tasks with all that is computed of them once, and the states that episodes begin in.

    Args:
        params: of the agents.
        env: whose lifetimes have begun.
    """

    def __init__(self, params: Params, env: TaskVectorEnv) -> None:
        self.params, self.task = params, env.task.computed()
        self.kind: type[Task] = type(env.task)
        self.begun = type(env.state)(*(x.clone() for x in env.state))

    def tensors(self) -> list[Tensor]:
        of_task = (x for value in self.task.values() for x in ([value] if isinstance(value, Tensor) else value))
        return [*(φ.detach() for φ in self.params.values()), *of_task, *self.begun]

    def rebuilt(self, unread: Iterator[Tensor]) -> tuple[Params, Task, Any]:
        """The same of other tensors, in the same order."""
        params = {name: next(unread) for name in self.params}
        task = object.__new__(self.kind)
        for name, value in self.task.items():
            one = isinstance(value, Tensor)
            vars(task)[name] = next(unread) if one else type(value)(*(next(unread) for _ in value))
        return params, task, type(self.begun)(*(next(unread) for _ in self.begun))


def chance(env: TaskVectorEnv, steps: int, filled: int) -> list[Tensor]:
    """The noise of so many steps of the dynamics, and zeros for the rest; nothing if there is none in them."""
    drawn = [env.family.noise(env.num_tasks, env.episodes_per_task, env.generator) for _ in range(steps)]
    known = [noise for noise in drawn if noise is not None]
    return [torch.stack([*known, *[torch.zeros_like(known[0])] * (filled - steps)])] if known else []
