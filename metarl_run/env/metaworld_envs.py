"""Meta-World's environments, each of which can take any task of a benchmark. Imports no torch, as workers import it."""

import importlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from metarl_run.env.mujoco.package import mujoco_quietly
from metarl_run.errors import ConfigError

INSTALL = "pip install 'metarl-run[metaworld]'"
NEWER_PARTS = ("mujoco-core", "mujoco-studio")
"""Packages of MuJoCo 4 that write into the folder of `mujoco` and stay there when pip replaces that one."""

BenchmarkTask = tuple[str, bytes]
"""Name of an environment class, and its variation as Meta-World pickles it."""


def metaworld_package() -> Any:
    """The package `metaworld`.

    Raises:
        ConfigError: if it is not installed, or not with the MuJoCo that it asks for.
    """
    if importlib.util.find_spec("metaworld") is None:
        raise ConfigError("env", "metaworld is not installed", f"{INSTALL}, in an environment of its own")
    wanted = _wanted_mujoco()
    found = {name: version for name in ("mujoco", *NEWER_PARTS) if (version := _version(name))}
    mend = f"pip uninstall -y {' '.join(found)} && pip install mujoco=={wanted}" if found and wanted else INSTALL
    mixed = wanted is not None and int(wanted.partition(".")[0]) < 4 and {*NEWER_PARTS} & found.keys()
    if wanted is not None and (found.get("mujoco") != wanted or mixed):
        got = ", ".join(f"{name} {version}" for name, version in found.items()) or "none"
        raise ConfigError("env", f"metaworld needs mujoco {wanted} and no part of another, got {got}", mend)
    try:
        mujoco_quietly()
        return importlib.import_module("metaworld")
    except Exception as error:
        raise ConfigError("env", f"metaworld cannot be imported: {type(error).__name__}: {error}", mend) from error


def _wanted_mujoco() -> str | None:
    """The version of MuJoCo that metaworld pins; None if it pins none."""
    for requirement in importlib.metadata.requires("metaworld") or ():
        if pinned := re.fullmatch(r"mujoco\s*\(?==\s*([\d.]+)\)?", requirement):
            return pinned[1]
    return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


class AnyTask(gymnasium.Env[np.ndarray, np.ndarray]):
    """An environment of whichever class its task is of.

    Args:
        tasks: those of a benchmark.
        render_mode: `rgb_array` for pictures.
    """

    def __init__(self, tasks: Sequence[BenchmarkTask], render_mode: str | None = None) -> None:
        self.tasks, self.render_mode = tasks, render_mode
        self.package = metaworld_package()
        self.name = tasks[0][0]
        self.inner = self._take(self.name)
        self.observation_space, self.action_space = self.inner.observation_space, self.inner.action_space

    def set_task(self, parameters: Mapping[str, float]) -> None:
        """Let the next episode be of another task.

        Args:
            parameters: `index`, of the task.
        """
        name, data = self.tasks[int(parameters["index"])]
        if name != self.name:
            IDLE.setdefault((self.name, self.render_mode), []).append(self.inner)
            self.name, self.inner = name, self._take(name)
        self.inner.set_task(self.package.Task(name, data))

    def _take(self, name: str) -> Any:
        """An environment of this class that no other has; to make one takes as long as a hundred steps."""
        idle = IDLE.get((name, self.render_mode))
        return idle.pop() if idle else self.package.env_dict.ALL_V3_ENVIRONMENTS[name](render_mode=self.render_mode)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The first observation; nothing is drawn, since the task says where everything is."""
        observation, info = self.inner.reset(seed=seed)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.inner.step(action)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> Any:
        """A picture, by EGL where there is no screen and `MUJOCO_GL` says nothing."""
        if not os.environ.get("DISPLAY"):
            os.environ.setdefault("MUJOCO_GL", "egl")
        mujoco = mujoco_quietly()
        try:
            return self.inner.render()
        except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:
            raise ConfigError("film", f"MuJoCo cannot draw here: {error}", "MUJOCO_GL=egl or osmesa") from error

    def close(self) -> None:
        """Give the environment back, for the next `AnyTask`; one that draws has a window to close."""
        if self.render_mode is None:
            IDLE.setdefault((self.name, None), []).append(self.inner)
        else:
            self.inner.close()


IDLE: dict[tuple[str, str | None], list[Any]] = {}
"""Environments of this process that no `AnyTask` has, by class and render mode."""
