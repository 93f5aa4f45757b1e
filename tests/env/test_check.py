"""What a family returns is checked once, before its first step, and what it cannot be is refused when it is built."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from metarl_run.env.base import Task, TaskFamily
from metarl_run.env.check import require_supported_spaces
from metarl_run.env.vector import TaskVectorEnv
from metarl_run.errors import ConfigError, ContractError

M, B = 20, 10


@dataclass(frozen=True)
class Level(Task):
    level: Tensor


class Place(NamedTuple):
    x: Tensor


class MyFamily(TaskFamily):
    """Right, unless a method is replaced."""

    def __post_init__(self):
        super().__post_init__()
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def sample(self, num_tasks, split, generator):
        return Level(torch.rand(num_tasks, generator=generator))

    def reset(self, task, num_episodes, generator):
        return Place(torch.rand(task.num_tasks, num_episodes, 3, generator=generator))

    def noise(self, num_tasks, num_episodes, generator):
        return torch.rand(1, num_tasks, num_episodes, generator=generator)

    def step(self, task, state, action, noise):
        return Place(state.x + 1), noise[0].clone(), noise[0] > 2

    def observe(self, task, state):
        return state.x.clone()


def made(family, generator=None):
    task = family.sample(M, "meta_train", torch.Generator().manual_seed(0))
    return TaskVectorEnv(family, task, episodes_per_task=B, generator=generator or torch.Generator().manual_seed(1))


def changed(part, value):
    """What `step` returns, with one of the three replaced."""

    def step(task, state, action, noise):
        state, reward, terminated = MyFamily.step(None, task, state, action, noise)
        parts = {"state": state, "reward": reward, "terminated": terminated}
        return tuple((parts | {part: value(parts[part])}).values())

    return step


@pytest.mark.parametrize(
    ("method", "replacement", "reason"),
    [
        ("step", changed("reward", lambda x: x.unsqueeze(-1)), "reward must have {float}, got [20, 10, 1]"),
        ("step", changed("reward", Tensor.double), "reward must have {float}, got [20, 10] and float64"),
        ("step", changed("reward", lambda x: x / 0), "reward must be finite, got inf"),
        ("step", changed("reward", lambda x: x.numpy()), "reward must be a tensor of {float}, got ndarray"),
        ("step", changed("reward", lambda x: x.to("meta")), "reward must be on cpu, got meta"),
        ("step", changed("terminated", lambda x: x.float()), "terminated must have {bool}, got [20, 10] and float32"),
        ("step", changed("state", lambda x: Place(x.x[:, :1])), "state.x must have shape [20, 10, …], got [20, 1, 3]"),
        (
            "step",
            changed("state", lambda x: Place(x.x.double())),
            "state.x must have shape [20, 10, 3] and dtype float32, got [20, 10, 3] and float64",
        ),
        (
            "step",
            lambda *_: (Place(torch.zeros(M, B, 3)), 1.0),
            "must return (state, reward, terminated), got 2 values",
        ),
        ("reset", lambda *_: torch.zeros(M, B, 3), "state must be a NamedTuple of tensors, got Tensor"),
        ("reset", lambda *_: Place(torch.zeros(B, 3)), "state.x must have shape [20, 10, …], got [10, 3]"),
        (
            "reset",
            lambda *_: Place(torch.zeros(B, M, 3).transpose(0, 1)),
            "state.x must let `view` merge its first two axes; .contiguous() would do",
        ),
        ("noise", lambda *_: torch.zeros(M, B), "noise must have shape [K, 20, 10], got [20, 10]"),
        ("noise", lambda *_: torch.full((1, M, B), torch.nan), "noise must be finite, got nan"),
        (
            "observe",
            lambda _, state: state.x[..., :2],
            "observation must have shape [20, 10, 3] and dtype float32, got [20, 10, 2]",
        ),
        ("sample", lambda *_: Level(torch.full((M,), torch.nan)), "level must be finite, got nan"),
    ],
)
def test_what_a_method_returns_is_refused_in_one_line_that_names_it(method, replacement, reason, monkeypatch):
    family = MyFamily(horizon=3)
    monkeypatch.setattr(family, method, replacement)
    shape = "shape [20, 10] and dtype"
    with pytest.raises(ContractError) as caught:
        made(family)
    said = reason.replace("{float}", f"{shape} float32").replace("{bool}", f"{shape} bool")
    line, hint = str(caught.value).splitlines()
    assert line == f"error: env MyFamily.{method}: {said}"
    assert hint == f"hint: M = 20 tasks, B = 10 episodes in each; see metarl_run.env.base.TaskFamily.{method}"
    assert caught.value.exit_code == 2


def test_a_family_is_checked_once_with_randomness_of_its_own(monkeypatch):
    family, generator = MyFamily(horizon=3), torch.Generator().manual_seed(1)
    calls = []
    monkeypatch.setattr(family, "observe", lambda task, state: calls.append(0) or state.x.clone())
    before = generator.get_state()
    made(family, generator)
    assert calls and torch.equal(generator.get_state(), before)
    seen = len(calls)
    made(family, generator)
    assert len(calls) == seen


def test_a_family_is_checked_again_until_it_is_right(monkeypatch):
    family = MyFamily(horizon=3)
    with monkeypatch.context() as patch:
        patch.setattr(family, "observe", lambda task, state: state.x[..., 0])
        for _ in range(2):
            with pytest.raises(ContractError):
                made(family)
    made(family)


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("observation_space", gymnasium.spaces.Discrete(3)),
        ("observation_space", gymnasium.spaces.Box(0, 1, (2, 2))),
        ("observation_space", gymnasium.spaces.Box(0, 255, (2,), np.uint8)),
        ("action_space", gymnasium.spaces.MultiDiscrete([2, 3])),
        ("action_space", gymnasium.spaces.Box(-1, 1, (2, 2))),
        ("action_space", gymnasium.spaces.Box(0, 3, (2,), np.int64)),
    ],
)
def test_a_space_that_is_not_supported_is_refused_in_one_line(name, space):
    family = MyFamily(horizon=3)
    require_supported_spaces(family)
    setattr(family, name, space)
    with pytest.raises(ConfigError, match=f"^error: env: {name} of MyFamily must be .*, got {re.escape(str(space))}\n"):
        require_supported_spaces(family)
