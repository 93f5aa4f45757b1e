"""Policies as programs of torch.export, which run where metarl-run is not installed."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import torch
from torch import Tensor

from metarl_run.algo.base import MetaAlgorithm
from metarl_run.api import exported
from metarl_run.env.base import TaskFamily
from metarl_run.errors import ConfigError
from metarl_run.learner.base import action_size
from metarl_run.system.atomic import refusals, write_atomically
from metarl_run.types import AgentState, Memory, Percept

READER = "metarl_policy.py"
"""The reader's name beside an exported policy."""


class Program(torch.nn.Module):
    """One decision of one environment, as a function of everything that changes.

    Args:
        algo: how it acts.
        family: that it was trained on.
        state: of one agent.
    """

    def __init__(self, algo: MetaAlgorithm, family: TaskFamily, state: AgentState) -> None:
        super().__init__()
        self.algo, self.family, self.params = algo, family, state.params

    def forward(
        self, observation: Tensor, noise: Tensor, action: Tensor, reward: Tensor, ended: Tensor, memory: Memory
    ) -> tuple[Tensor, Tensor, Memory]:
        """What the policy chose, the action that it stands for, and the memory afterwards."""
        if self.family.normalisation is not None:
            observation, reward = observation.clone(), reward.clone()
            self.family.normalisation.observation_(observation)
            self.family.normalisation.reward_(reward)
        policy, memory = self.algo.act(AgentState(self.params, memory), Percept(observation, action, reward, ended))
        chosen = policy.sample(noise)
        match self.family.action_space:
            case gymnasium.spaces.Discrete(start=start):
                return chosen, chosen + int(start), memory
            case gymnasium.spaces.Box(low=low, high=high):
                return chosen, chosen.clamp(torch.from_numpy(low), torch.from_numpy(high)), memory
        raise ValueError(f"action_space must be Discrete or a Box, got {self.family.action_space}")


def export(
    algo: MetaAlgorithm, family: TaskFamily, state: AgentState, last: tuple[Tensor, ...], path: Path
) -> tuple[Path, Path]:
    """Write one agent's policy as a program, and its reader beside it; both paths.

    Args:
        algo: how it acts.
        family: that it was trained on.
        state: of one agent in one environment.
        last: last action, reward and end of an episode, in the task's own units.
        path: of the program, whose suffix is .pt2.

    Raises:
        ConfigError: if there is no such program of this agent.
        ResourceError: if the disk refuses.
    """
    name = type(algo).__name__
    if path.suffix != ".pt2":
        raise ConfigError("path", f"must end with .pt2, got {path}")
    if type(algo).draw is not MetaAlgorithm.draw:
        raise ConfigError("export", f"{name} draws or plans before it acts, which is no program of torch.export")
    space = family.action_space
    discrete = isinstance(space, gymnasium.spaces.Discrete)
    size = action_size(space)
    memory = {key: x.detach().clone() for key, x in state.memory.items()}
    example = (torch.zeros(1, 1, family.observation_space.shape[0]), torch.zeros(1, 1, size), *last, memory)
    program = Program(algo, family, AgentState({key: φ.detach().clone() for key, φ in state.params.items()}, memory))
    try:
        with torch.no_grad(), _silent():
            after = program(*example)[2]
            if any(after[key].shape != x.shape for key, x in memory.items()):
                raise ConfigError("export", f"the memory of {name} grows: no program of torch.export has such a one")
            made = torch.export.export(program, example, strict=False)
    except ConfigError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [""])[0]
        reason = f"{name} is no program of torch.export: {type(error).__name__}: {line}"
        raise ConfigError("export", reason) from error
    about = {
        "format": 1,
        "noise": size,
        "discrete": discrete,
        "memory": {key: _kept(x) for key, x in memory.items()},
        "last": [_kept(x) for x in last],
    }
    with refusals(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(made, path, extra_files={exported.RECORD: json.dumps(about)})
    return path, write_atomically(path.with_name(READER), Path(exported.__file__).read_bytes())


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Neither warnings, logs nor listings of what cannot be traced, which is told in one line."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _kept(x: Tensor) -> dict[str, Any]:
    return {"dtype": str(x.dtype).removeprefix("torch."), "shape": [*x.shape], "values": x.flatten().tolist()}
