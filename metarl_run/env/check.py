"""Checks of a task family: its spaces when it is built, what its methods return before its first step."""

import weakref
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl_run.env.actions import dynamics_of
from metarl_run.env.base import Task, TaskFamily
from metarl_run.errors import ConfigError, ContractError, NumericalError
from metarl_run.maths.distributions import empty_actions
from metarl_run.maths.finite import all_finite, first_not_finite
from metarl_run.types import Rollout

SPACES = {
    "observation_space": ("a Box of floats with one axis", "return a vector: features side by side"),
    "action_space": (
        "Discrete, or a Box of floats with one axis",
        "number the combinations, or stack the values",
    ),
}


def require_supported_spaces(family: TaskFamily) -> None:
    """Raise ConfigError for a space that no policy or network here can handle."""
    for name, (wanted, hint) in SPACES.items():
        space = getattr(family, name)
        vector = isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1
        vector = vector and np.issubdtype(space.dtype, np.floating)
        if not vector and not (name == "action_space" and isinstance(space, gymnasium.spaces.Discrete)):
            raise ConfigError("env", f"{name} of {type(family).__name__} must be {wanted}, got {space}", hint)


CHECKED: "weakref.WeakSet[TaskFamily]" = weakref.WeakSet()
"""Families of which nothing is left to check."""


def check_once(family: TaskFamily, task: Task, num_episodes: int, device: torch.device) -> None:
    """Step the family once, with randomness of its own, and check what every method returns.

    Args:
        family: checked at its first call alone.
        task: M tasks of that family.
        num_episodes: B.
        device: of all tensors.

    Raises:
        ContractError: naming the first method and field that are wrong, with what was expected.
    """
    if family not in CHECKED:
        with torch.no_grad():
            _Check(family, task, num_episodes, device).run()
        CHECKED.add(family)


class _Check:
    def __init__(self, family: TaskFamily, task: Task, num_episodes: int, device: torch.device) -> None:
        self.family, self.task, self.device = family, task, device
        self.M, self.B = task.num_tasks, num_episodes

    def run(self) -> None:
        family, task, M, B = self.family, self.task, self.M, self.B
        for name, tensor in task.tensors().items():
            self.tensor("sample", name, tensor, (M, ...))
        generator = torch.Generator(self.device).manual_seed(0)
        state = family.reset(task, B, generator)
        self.state("reset", state)
        kinds = [(x.shape, x.dtype) for x in state]
        self.observation(state)
        noise = family.noise(M, B, generator)
        if noise is not None:
            self.tensor("noise", "noise", noise, ("K", M, B))
        action = empty_actions(family.action_space, (M, B), self.device)
        stepped: Any = dynamics_of(family, self.device)(task, state, action, noise)
        if not isinstance(stepped, tuple) or len(stepped) != 3:
            self.fail("step", f"must return (state, reward, terminated), got {_described(stepped)}")
        state, reward, terminated = stepped
        self.state("step", state)
        for name, x, (shape, dtype) in zip(state._fields, state, kinds, strict=False):
            self.tensor("step", f"state.{name}", x, tuple(shape), dtype)
        self.tensor("step", "reward", reward, (M, B), torch.float32)
        self.tensor("step", "terminated", terminated, (M, B), torch.bool)
        outcomes = family.outcomes_of(task, state) if family.outcomes else {}
        if outcomes.keys() != family.outcomes.keys():
            self.fail(
                "outcomes_of", f"must return {', '.join(family.outcomes)}, got {', '.join(outcomes) or 'nothing'}"
            )
        for name, x in outcomes.items():
            self.tensor("outcomes_of", name, x, (M, B), torch.float32)
        self.observation(state)

    def observation(self, state: Any) -> None:
        shape = (self.M, self.B, *self.family.observation_space.shape)
        self.tensor("observe", "observation", self.family.observe(self.task, state), shape, torch.float32)

    def state(self, method: str, state: Any) -> None:
        if not isinstance(state, tuple) or not hasattr(state, "_fields"):
            self.fail(method, f"state must be a NamedTuple of tensors, got {_described(state)}")
        for name, x in zip(state._fields, state, strict=True):
            self.tensor(method, f"state.{name}", x, (self.M, self.B, ...), finite=False)
            try:
                x.view(self.M * self.B, *x.shape[2:])
            except RuntimeError:
                self.fail(method, f"state.{name} must let `view` merge its first two axes; .contiguous() would do")

    def tensor(
        self,
        method: str,
        name: str,
        x: Any,
        shape: tuple[Any, ...],
        dtype: torch.dtype | None = None,
        *,
        finite: bool = True,
    ) -> None:
        """Check one tensor; `...` at the end of `shape` stands for any further axes, a word for any size."""
        wanted = f"shape [{', '.join('…' if size is ... else str(size) for size in shape)}]"
        wanted += f" and dtype {_name(dtype)}" if dtype else ""
        if not isinstance(x, Tensor):
            self.fail(method, f"{name} must be a tensor of {wanted}, got {_described(x)}")
        sizes = shape[:-1] if shape[-1] is ... else shape
        fits = x.dim() == len(sizes) or (shape[-1] is ... and x.dim() > len(sizes))
        fits = fits and all(isinstance(size, str) or size == got for size, got in zip(sizes, x.shape, strict=False))
        if not fits or (dtype and x.dtype != dtype):
            got = f"{list(x.shape)}" + (f" and {_name(x.dtype)}" if dtype and x.dtype != dtype else "")
            self.fail(method, f"{name} must have {wanted}, got {got}")
        if x.device.type != self.device.type:
            self.fail(method, f"{name} must be on {self.device}, got {x.device}")
        if finite and not x.isfinite().all():
            self.fail(method, f"{name} must be finite, got {x[~x.isfinite()][0].item()}")

    def fail(self, method: str, reason: str) -> None:
        where = f"env {type(self.family).__name__}.{method}"
        hint = f"M = {self.M} tasks, B = {self.B} episodes in each; see metarl_run.env.base.TaskFamily.{method}"
        raise ContractError(where, reason, hint)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _described(x: Any) -> str:
    return f"{len(x)} values" if type(x) is tuple else type(x).__name__


def require_finite(family: TaskFamily, rollout: Rollout) -> None:
    """Raise NumericalError if an observation, a reward or an outcome is not finite, naming the earliest.

    Where all are finite, one sum of each tells so.

    Args:
        family: the origin of both.
        rollout: collected in M tasks × B envs.
    """
    if all_finite(rollout.observation, rollout.reward, *rollout.outcomes.values()):
        return
    reached = torch.nn.functional.pad(rollout.alive, (0, 0, 1, 0))  # row t + 1 is what step t led to
    reached[:, :-1] |= rollout.alive
    bad = {}
    returned = {"reward": rollout.reward, **rollout.outcomes}
    for name, x, among in (
        ("observation", rollout.observation, reached),
        *((name, x, rollout.alive) for name, x in returned.items()),
    ):
        found = first_not_finite(x.transpose(0, 1), among.transpose(0, 1))
        if found is not None:
            (step, task, env, *_), got = found
            bad[name] = (step, task, env, got)
    if bad:
        # What a step returns comes after what it acted on.
        name = min(bad, key=lambda name: (bad[name][0], name in returned))
        step, task, env, got = bad[name]
        method = "step" if name in returned else "reset and observe" if step == 0 else "step and observe"
        raise NumericalError(
            f"{name} of {type(family).__name__}",
            f"must be finite, got {got}",
            f"see its {method}",
            task=task,
            at=(f"step {step}", f"env {env}"),
        )
