"""Inputs of compiled programs other than the state that one step hands to the next."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl_run.env.vector import TaskVectorEnv
from metarl_run.types import Params


class Inputs(NamedTuple):
    """Tensors that stay as they are throughout a rollout.

    Attributes:
        params: of the agents, or their meta-parameters.
        task: the tasks' fields and all that is computed from them once, see `Task.restored`.
        start: the family's state at the start of the episodes.
    """

    params: Params
    task: dict[str, Any]
    start: tuple[Tensor, ...]


def inputs_of(params: Params, env: TaskVectorEnv) -> Inputs:
    """The inputs of a rollout that has just been started in `env`."""
    constants = {name: φ.detach() for name, φ in params.items()}
    return Inputs(constants, env.task.computed(), tuple(x.clone() for x in env.state))


def dynamics_noise(env: TaskVectorEnv, steps: int, padded: int) -> list[Tensor]:
    """The noise of so many steps of the dynamics, padded with zeros, as one tensor; none if they are deterministic."""
    drawn = [env.family.noise(env.num_tasks, env.episodes_per_task, env.generator) for _ in range(steps)]
    known = [noise for noise in drawn if noise is not None]
    return [torch.stack([*known, *[torch.zeros_like(known[0])] * (padded - steps)])] if known else []
