"""Any Gymnasium environment as a task family."""

import contextlib
import copy
import importlib.metadata
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Bool, Float
from torch import Tensor

from metarl_run.component import field
from metarl_run.env.base import Split, Step, Task, TaskFamily
from metarl_run.env.gymnasium_maker import MISSING, Maker, at_path, is_reproducible, spec_of
from metarl_run.env.gymnasium_pool import Pool
from metarl_run.env.gymnasium_spaces import flat_action_space
from metarl_run.env.parameter import sample
from metarl_run.env.vector import TaskVectorEnv, Transition
from metarl_run.errors import ConfigError
from metarl_run.kinds import Count, DistributionsByName, Names, Positive, Reduction, Reductions

log = logging.getLogger(__name__)

Vary = Annotated[dict[str, Any], DistributionsByName()]
Outcomes = Annotated[dict[str, Reduction], Reductions()]
SEEDS = 2**31
WORDS = {"make": "function", "wrappers": "Wrapper"}


@dataclass(frozen=True)
class GymnasiumTask(Task):
    """M tasks: the value of each of P parameters, in the order of their names."""

    values: Float[Tensor, "M P"]


class GymnasiumFamily(TaskFamily):
    """Tasks of an environment that differ in keywords of its constructor, or in attributes.

    Task: the parameters named in `vary`. Each is a keyword of the constructor; else an attribute of the unwrapped
    environment, by a dotted path, through dictionaries too; else an entry of the mapping that is given to its
    `set_task`. One that is drawn from integers alone is an integer. Observation: flattened as by
    `gymnasium.spaces.flatten`, discrete ones one-hot. Action: of finite spaces, one number for each combination. Start,
    reward and termination: the environment's; it is reset with a seed of its own for every episode.

    Args:
        id: name in Gymnasium's registry; null with `make`.
        make: `package.module:function` that makes the environment; the package must be one of `plugins`.
        kwargs: keywords of the constructor, the same in all tasks.
        wrappers: `package.module:Class` of each wrapper around it, the innermost first, as trusted as `make`.
        vary: the distribution of each parameter in meta-training.
        vary_in_meta_test: the same in meta-testing.
        outcomes: entries of the `info` that every step returns, see `TaskFamily`.
        vector: `sync` steps all environments in this process, `async` in worker processes; the result is the same.
        workers: processes with `async`; null is one per CPU.
        timeout: seconds after which a worker that does not answer ends the run.
        action_repeat: n, steps for which an action is held; their rewards are added.
        horizon: in actions; null is the limit of the registered environment.
        plugins: packages that `id`, `make` and `wrappers` may import; None is any.

    Raises:
        ConfigError: if the environment cannot be made, or its spaces cannot be used.
    """

    id: str | None
    make: str | None
    kwargs: dict[str, Any] | None
    vary: Vary | None
    vary_in_meta_test: Vary | None
    outcomes: Outcomes | None = None  # type: ignore[misc, assignment]  # an argument, never null once made
    vector: Literal["sync", "async"]
    workers: Count | None
    timeout: Positive
    action_repeat: Count = field(default=1)
    horizon: Count | None  # type: ignore[assignment]  # null is taken from the registry
    wrappers: Names | None = field(default=None)
    plugins: Sequence[str] | None = field(default=None)

    provides: ClassVar[tuple[str, ...]] = ("discrete_actions", "continuous_actions")

    def __post_init__(self) -> None:
        self.outcomes = self.outcomes or {}
        super().__post_init__()
        if (self.id is None) == (self.make is None):
            raise ConfigError("env", "needs either id or make", "env.id=CartPole-v1")
        self._require_trusted()
        vary = self.vary or {}
        held_out = vary if self.vary_in_meta_test is None else self.vary_in_meta_test
        self.varied: dict[Split, Vary] = {"meta_train": vary, "meta_test": held_out}
        if vary.keys() != held_out.keys():
            wanted, got = (", ".join(sorted(names)) or "nothing" for names in (vary, held_out))
            raise ConfigError("env.vary_in_meta_test", f"must name the parameters of vary, {wanted}, got {got}")
        limit = self._registered().max_episode_steps if self.id is not None else None
        if self.horizon is None and limit is None:
            raise ConfigError(
                "env.horizon", "must be given: the environment has no limit of its own", "env.horizon=200"
            )
        self.horizon = self.horizon or -(-(limit or 0) // self.action_repeat)
        arguments = {**(self.kwargs or {}), **({"max_episode_steps": -1} if self.id is not None else {})}
        whole = [name for name in vary if _whole(vary[name]) and _whole(held_out[name])]
        self.maker = Maker(
            self.id,
            self.make,
            arguments,
            sorted(vary),
            outcomes=self.outcomes or {},
            whole=whole,
            wrappers=self.wrappers or (),
            action_repeat=self.action_repeat,
        )
        example = self._example()
        try:
            size = spaces.flatdim(example.observation_space)
            self.action_space = flat_action_space(example.action_space)
            self._require_outcomes(example)
        except (ValueError, NotImplementedError) as error:
            what = str(error) or f"{example.observation_space} cannot be flattened"
            reason = f"the spaces of {self.id or self.make} cannot be used: {what}"
            raise ConfigError(
                "env", reason, "a wrapper may change them: env.wrappers=[package.module:Wrapper]"
            ) from error
        finally:
            example.close()
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,))
        self._pool: Pool | None = None

    def _require_trusted(self) -> None:
        """Raise ConfigError for a package that a configuration may not import."""
        named = {"id": [self.id], "make": [self.make], "wrappers": self.wrappers or []}
        for key, names in named.items():
            for name in filter(None, names):
                module, colon, _ = name.partition(":")
                package = module.partition(".")[0]
                if key != "id" and not colon:
                    raise ConfigError(f"env.{key}", f"must be package.module:{WORDS[key]}, got {name}")
                known = ("gymnasium",) if key == "wrappers" else ()  # which are called with an environment alone
                if colon and self.plugins is not None and package not in (*known, *self.plugins):
                    reason = f"must be in a package named in plugins, got {name}"
                    raise ConfigError(f"env.{key}", reason, f"if you trust it, add plugins=[{package}]")

    def _registered(self) -> Any:
        assert self.id is not None
        try:
            return spec_of(self.id)
        except ModuleNotFoundError as error:
            raise ConfigError("env.id", f"{error}", f"pip install {error.name}") from error
        except gymnasium.error.Error as error:
            hint = "one that a package registers: env.id=package:Name-v0 plugins=[package]"
            raise ConfigError("env.id", f"{error}", hint) from error

    def _example(self) -> gymnasium.Env[Any, Any]:
        """One environment, in which every parameter can be set."""
        try:
            example = self.maker.make()
        except Exception as error:
            raise ConfigError(
                "env", f"{self.id or self.make} cannot be made: {type(error).__name__}: {error}"
            ) from error
        others = [name for name in self.maker.names if name not in self.maker.keywords()]
        for name in others:
            if at_path(example.unwrapped, name.split(".")) is MISSING and not hasattr(example.unwrapped, "set_task"):
                reason = f"{self.id or self.make} has neither a keyword nor an attribute {name!r}"
                raise ConfigError("env.vary", reason, f"its numbers are {', '.join(_numbers(example.unwrapped))}")
        return example

    def _require_outcomes(self, example: gymnasium.Env[Any, Any]) -> None:
        if not self.outcomes:
            return
        example.reset(seed=0)
        info = example.step(example.action_space.sample())[-1]
        numbers = [name for name, value in info.items() if isinstance(value, float | int | np.generic)]
        for name in self.outcomes:
            if name not in numbers:
                reason = f"a step of {self.id or self.make} does not report {name!r}"
                offered = f"it reports {', '.join(numbers)}" if numbers else "it reports no number"
                raise ConfigError("env.outcomes", reason, offered)

    @property
    def software(self) -> str | None:
        """Of Gymnasium's environments on MuJoCo, both are named."""
        entry = self._registered().entry_point if self.id is not None else self.make
        module = entry.partition(":")[0] if isinstance(entry, str) else getattr(entry, "__module__", "")
        packages = [module.partition(".")[0], *(["mujoco"] if module.startswith("gymnasium.envs.mujoco") else [])]
        named = [f"{package} {version}" for package in packages if (version := _version_of(package))]
        return ", ".join(named) or None

    def sample(self, num_tasks: int, split: Split, generator: torch.Generator) -> GymnasiumTask:
        columns = [sample(self.varied[split][name], num_tasks, generator) for name in self.maker.names]
        empty = torch.empty(num_tasks, 0, device=generator.device)
        return GymnasiumTask(values=torch.stack(columns, 1) if columns else empty)

    def all_tasks(self, split: Split) -> GymnasiumTask | None:
        return None if self.maker.names else GymnasiumTask(values=torch.empty(1, 0))

    def pool(self, number: int) -> Pool:
        """At least `number` environments."""
        if self._pool is None or self._pool.number < number:
            if self._pool is not None:
                self._pool.close()
            workers = 0 if self.vector == "sync" else self.workers or os.cpu_count() or 1
            if self._pool is None and not workers:
                self._warn_unless_reproducible()
            self._pool = Pool(self.maker, number, workers, self.timeout)
        return self._pool

    def _warn_unless_reproducible(self) -> None:
        """Compare two environments of one seed; here alone, as one that hangs is given up in a worker only."""
        with contextlib.suppress(Exception):  # the run meets it, too, and names the environment
            if not is_reproducible(self.maker):
                log.warning("%s is not reproducible: with the same seed it gives other episodes", self.id or self.make)

    def for_pictures(self) -> "GymnasiumFamily":
        family = copy.copy(self)
        family.maker = replace(self.maker, arguments={**self.maker.arguments, "render_mode": "rgb_array"})
        family.vector, family._pool = "sync", None
        return family

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def reset(self, task: Task, num_episodes: int, generator: torch.Generator) -> Any:
        raise NotImplementedError("states live in Gymnasium's environments; see GymnasiumVectorEnv")

    def step(self, task: Any, state: Any, action: Tensor, noise: Any) -> Any:
        raise NotImplementedError("states live in Gymnasium's environments; see GymnasiumVectorEnv")

    def observe(self, task: Any, state: Any) -> Tensor:
        raise NotImplementedError("states live in Gymnasium's environments; see GymnasiumVectorEnv")


def _whole(spec: Any) -> bool:
    """Is the distribution one of integers alone?"""
    name, *values = spec if isinstance(spec, Sequence) else ("constant", spec)
    return name in ("constant", "choice") and all(type(value) is int for value in values)


def _version_of(package: str) -> str | None:
    """Of the distribution that holds a package; None if it was not installed."""
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else None


def _numbers(env: Any) -> Sequence[str]:
    return sorted(name for name, value in vars(env).items() if type(value) in (int, float) and not name.startswith("_"))


class GymnasiumVectorEnv(TaskVectorEnv):
    """Environments of a pool, behind the interface of rollouts: see `TaskVectorEnv`."""

    family: GymnasiumFamily
    task: GymnasiumTask

    def __init__(
        self, family: GymnasiumFamily, task: GymnasiumTask, *, episodes_per_task: int, generator: torch.Generator
    ) -> None:
        assert family.horizon is not None
        self.family, self.task, self.generator = family, task, generator
        self.num_tasks, self.episodes_per_task, self.horizon = task.num_tasks, episodes_per_task, family.horizon
        self.num_envs, self._outcomes = self.num_tasks * episodes_per_task, list(family.outcomes or ())
        self.single_observation_space, self.single_action_space = family.observation_space, family.action_space
        self._state = None

    def picture(self, task: Task, past: Sequence[Step] = ()) -> np.ndarray | None:
        """The first environment as it renders itself; None if it has no pictures."""
        inner = self._pool.chunks.envs[0].env
        return np.asarray(inner.render()) if inner.render_mode == "rgb_array" else None

    def start(self, episodes: int = 1) -> Float[Tensor, "M B D"]:
        self._pool = self.family.pool(self.num_envs)
        device = self.generator.device
        tasks = self.task.values.repeat_interleave(self.episodes_per_task, 0).double().cpu().numpy()
        (self._width,) = self.family.observation_space.shape
        self._left = np.full(self.num_envs, episodes)
        self._now, self._first_limit = 0, self.horizon
        self._cut = np.full(self.num_envs, self.horizon)  # time of the next truncation
        self._observation = self._begin(np.ones(self.num_envs, bool), tasks)
        shape = self.num_tasks, self.episodes_per_task
        self._alive = torch.ones(shape, dtype=torch.bool, device=device)
        self._nowhere, self._all_alive = torch.zeros_like(self._alive), True
        return self._shaped(self._observation)

    def advance(self, action: Tensor) -> Transition:
        """See `TaskVectorEnv.advance`.

        Where the environments themselves take long, every operation between their steps finds an empty cache: so most
        steps, in which all are alive and nothing ends, get along with few, and on arrays, where they cost less.
        """
        chosen = self._chosen(action)
        if not self._all_alive:
            chosen[self._left == 0] = np.nan
        rows = self._pool.step(chosen)[: self.num_envs].copy()
        self._now += 1
        if not self._all_alive or self._now >= self._first_limit or rows[:, -2:].any():
            return self._where_some_end(rows)
        self._observation = rows[:, : self._width]
        shaped = self._shaped(rows)
        outcomes = {name: shaped[..., self._width + i] for i, name in enumerate(self._outcomes)}
        return Transition(shaped[..., : self._width], shaped[..., -3], self._nowhere, None, None, outcomes)

    def _where_some_end(self, rows: np.ndarray) -> Transition:
        """The outcome of a step after which some environment is not alive, or was not before."""
        alive, all_alive = self._left > 0, self._all_alive
        rows[~alive, -3:] = 0.0
        observation = np.where(alive[:, None], rows[:, : self._width], self._observation)
        terminated = rows[:, -2] > 0
        truncated = ((rows[:, -1] > 0) | (self._cut <= self._now)) & ~terminated & alive
        ended = terminated | truncated
        if ended.any():
            self._left -= ended
            left = self._left > 0
            anew = ended & left
            if anew.any():
                observation = np.where(anew[:, None], self._begin(anew), observation)
            self._cut[ended] = self._now + self.horizon
            self._alive, self._all_alive = self._shaped(left), bool(left.all())
            self._first_limit = int(self._cut.min())
        self._observation = observation
        return Transition(
            self._shaped(observation),
            self._shaped(rows[:, -3]),
            self._shaped(terminated),
            self._shaped(truncated) if truncated.any() else None,
            None if all_alive else self._shaped(alive),
            {name: self._shaped(rows[:, self._width + i]) for i, name in enumerate(self._outcomes)},
        )

    def _begin(self, envs: Bool[np.ndarray, " N"], tasks: np.ndarray | None = None) -> Float[np.ndarray, "N D"]:
        """First observations of new episodes, each with a seed of its own, whichever worker resets it."""
        draws = torch.randint(SEEDS, (self.num_envs,), generator=self.generator, device=self.generator.device)
        seeds = np.where(envs, draws.cpu().numpy(), -1)
        return self._pool.reset(seeds, tasks)[: self.num_envs, : self._width].copy()

    def _chosen(self, action: Tensor) -> np.ndarray:
        """Actions of the environments' own space, `[N, d]`: of a Discrete one with its start."""
        flat = action.reshape(self.num_envs, -1).cpu()
        match self.single_action_space:
            case spaces.Discrete(start=start):
                return flat.double().numpy() + int(start)
            case spaces.Box(low=low, high=high):
                return flat.numpy().clip(low, high)
        raise AssertionError(self.single_action_space)

    def _shaped(self, x: np.ndarray) -> Tensor:
        shape = (self.num_tasks, self.episodes_per_task, *x.shape[1:])
        return torch.from_numpy(x).view(shape).to(self.generator.device)


GymnasiumFamily.envs = GymnasiumVectorEnv
