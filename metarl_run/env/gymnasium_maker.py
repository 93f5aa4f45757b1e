"""Recipe of a Gymnasium environment, and one whose task can be replaced. Imports no torch, as workers import it."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from metarl_run.env.mujoco.package import mujoco_quietly
from metarl_run.kinds import Reduction


@dataclass(frozen=True)
class Maker:
    """Recipe of an environment.

    Attributes:
        id: name in Gymnasium's registry, or None.
        factory: `package.module:function` that makes one instead, or None.
        arguments: keywords of either.
        names: task parameters, in the order of their values.
        action_repeat: steps for which an action is held.
        outcomes: entries of a step's `info` that are kept, and how they are reduced over steps.
        whole: those of the task parameters that are integers.
        wrappers: `package.module:Class` of each wrapper around it, the innermost first.
    """

    id: str | None
    factory: str | None
    arguments: Mapping[str, Any]
    names: Sequence[str]
    action_repeat: int = 1
    outcomes: Mapping[str, Reduction] = field(default_factory=dict)
    whole: Sequence[str] = ()
    wrappers: Sequence[str] = ()

    def make(self, **values: float) -> gymnasium.Env[Any, Any]:
        """An environment with these values of task parameters that the constructor takes.

        Raises:
            TypeError: if what shall wrap it is no wrapper.
        """
        env = self.constructor()(**self.arguments, **values)
        for name in self.wrappers:
            wrapper = _named(name)
            if not (isinstance(wrapper, type) and issubclass(wrapper, gymnasium.Wrapper)):
                raise TypeError(f"{name} must be a gymnasium.Wrapper")
            env = wrapper(env)
        return env if self.action_repeat == 1 else ActionRepeat(env, self.action_repeat, self.outcomes)

    def constructor(self) -> Callable[..., gymnasium.Env[Any, Any]]:
        if self.factory is not None:
            factory: Callable[..., gymnasium.Env[Any, Any]] = _named(self.factory)
            return factory
        name = self.id or ""
        if "mujoco" in str(spec_of(name).entry_point):
            with contextlib.suppress(ImportError):  # Gymnasium says what is missing
                mujoco_quietly()
        return lambda **arguments: gymnasium.make(name, disable_env_checker=True, **arguments)

    def keywords(self) -> list[str]:
        """Task parameters that the constructor takes."""
        if self.factory is not None:
            constructor: Any = self.constructor()
        else:
            entry = spec_of(self.id or "").entry_point
            constructor = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
        return [name for name in self.names if name in inspect.signature(constructor).parameters]


def spec_of(env_id: str) -> Any:
    """The entry of Gymnasium's registry, once the module before a colon is imported."""
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.spec(name)


def _named(path: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class ActionRepeat(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment in which every action is held for n steps, whose rewards are added.

    Args:
        env: the environment.
        n: steps per action; fewer where an episode ends.
        outcomes: see `Maker`.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], n: int, outcomes: Mapping[str, Reduction]) -> None:
        super().__init__(env)
        self.n, self.outcomes = n, outcomes

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total, infos = 0.0, list[dict[str, Any]]()
        for _ in range(self.n):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            infos.append(info)
            if terminated or truncated:
                break
        reduced = {
            name: REDUCTIONS[reduction]([float(info[name]) for info in infos])
            for name, reduction in self.outcomes.items()
        }
        return observation, total, terminated, truncated, {**info, **reduced}


REDUCTIONS: Mapping[Reduction, Callable[[list[float]], float]] = {
    "max": max,
    "min": min,
    "mean": fmean,
    "sum": sum,
    "last": lambda values: values[-1],
}


class TaskEnv:
    """One environment whose task can be replaced.

    A task parameter is a keyword of the constructor, which makes a new environment; else an attribute of the unwrapped
    environment, by a dotted path, through dictionaries too; else an entry of the mapping that is given to its
    `set_task`.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker, self.keywords = maker, maker.keywords()
        self.env: gymnasium.Env[Any, Any] | None = None
        self.values: dict[str, float] = {}

    def set_task(self, values: np.ndarray) -> None:
        whole = self.maker.whole
        wanted = {
            name: int(value) if name in whole else float(value)
            for name, value in zip(self.maker.names, values, strict=True)
        }
        built = {name: wanted[name] for name in self.keywords}
        if self.env is None or any(self.values.get(name) != value for name, value in built.items()):
            self.close()
            self.env = self.maker.make(**built)
        self.values = wanted
        others = {name: value for name, value in wanted.items() if name not in built}
        given = {}
        for name, value in others.items():
            if not _assigned(self.env.unwrapped, name, value):
                given[name] = value
        if given:
            self.env.unwrapped.set_task(given)  # type: ignore[attr-defined]

    def close(self) -> None:
        if self.env is not None:
            self.env.close()


def _assigned(env: Any, path: str, value: float) -> bool:
    """Set an attribute by its dotted path, if there is such a one."""
    *outer, last = path.split(".")
    holder = at_path(env, outer)
    if holder is MISSING or at_path(holder, [last]) is MISSING:
        return False
    if isinstance(holder, MutableMapping):
        holder[last] = value
    else:
        setattr(holder, last, value)
    return True


MISSING = object()


def at_path(env: Any, names: Sequence[str]) -> Any:
    """The attribute, or entry of a dictionary, that is reached by these names; MISSING if there is none."""
    for name in names:
        env = env.get(name, MISSING) if isinstance(env, Mapping) else getattr(env, name, MISSING)
    return env


STEPS_TO_COMPARE = 10


def is_reproducible(maker: Maker) -> bool:
    """Do two environments with one seed give the same observations and rewards?"""

    def history() -> list[np.ndarray]:
        env = maker.make()
        env.action_space.seed(0)
        observation, _ = env.reset(seed=0)
        seen: list[Any] = [spaces.flatten(env.observation_space, observation)]
        for _ in range(STEPS_TO_COMPARE):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            seen += [spaces.flatten(env.observation_space, observation), np.array(reward)]
            if terminated or truncated:
                break
        env.close()
        return seen

    first, second = history(), history()
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
