"""Pool of Gymnasium environments, in this process or in worker processes. Imports no torch, as workers import it.

Workers are those of Gymnasium's `AsyncVectorEnv`: processes, shared memory, time-outs. Each of its environments is a
`Chunk`, which steps many environments one after another: a process per environment would be too many.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from metarl_run.env.gymnasium_maker import Maker, TaskEnv
from metarl_run.env.gymnasium_spaces import flat_action_space, from_flat, is_vector
from metarl_run.errors import ResourceError


def _failure(index: int, method: str, error: Exception) -> dict[str, Any]:
    """The info of a chunk in which an environment raised.

    Not an exception: of several workers that raise, Gymnasium would report the one that was last to answer.
    """
    return {"failed": index, "reason": f"env {index}: {method}: {type(error).__name__}: {error}"}


class Chunk(gymnasium.Env[np.ndarray, np.ndarray]):
    """Environments `first`, `first + stride`, … of a pool, stepped one after another, as one environment.

    Its observation holds a row for each: features, outcomes, reward, terminated, truncated.

    Args:
        maker: makes each of them.
        number: how many there are.
        first: index of the first in the pool.
        stride: number of chunks.
    """

    def __init__(self, maker: Maker, number: int, first: int = 0, stride: int = 1) -> None:
        self.first, self.stride = first, stride
        self.envs = [TaskEnv(maker) for _ in range(number)]
        example = maker.make()
        self.inner_observation, self.inner_action = example.observation_space, example.action_space
        example.close()
        self.width, self.outcomes = spaces.flatdim(self.inner_observation), maker.outcomes
        chosen = flat_action_space(self.inner_action)
        self.rows = np.zeros((number, self.width + len(self.outcomes) + 3), np.float32)
        self._of_features, self._of_rest = list(self.rows[:, : self.width]), list(self.rows[:, self.width :])
        inner = self.inner_observation, self.inner_action
        self._vector, floats = (space.dtype if is_vector(space) else None for space in inner)
        self._as_they_are = floats if floats is not None and floats.kind == "f" else None
        self.observation_space = spaces.Box(-np.inf, np.inf, self.rows.shape)
        size = 1 if isinstance(chosen, spaces.Discrete) else chosen.shape[0]
        self.action_space = spaces.Box(-np.inf, np.inf, (number, size), np.float64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Reset environments.

        Args:
            seed: unused; each environment has its own.
            options: of the whole pool: `seeds`, −1 for environments to leave alone, and `tasks`, or None to keep them.
        """
        options = options or {}
        seeds, tasks = options.get("seeds", ()), options.get("tasks")
        for i, env in enumerate(self.envs):
            index = self.first + i * self.stride
            if index >= len(seeds) or seeds[index] < 0:
                continue
            try:
                if tasks is not None:
                    env.set_task(tasks[index])
                assert env.env is not None
                observation, _ = env.env.reset(seed=int(seeds[index]))
                features = self._features(observation)
            except Exception as error:
                return self.rows, _failure(index, "reset", error)
            self.rows[i, : self.width], self.rows[i, self.width :] = features, 0.0
        return self.rows, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step every environment whose action is not NaN."""
        chosen: Any = action if self._as_they_are is None else action.astype(self._as_they_are, copy=False)
        for i in np.flatnonzero(~np.isnan(action[:, 0])).tolist():
            try:
                env = self.envs[i].env
                assert env is not None
                taken = chosen[i] if self._as_they_are else from_flat(self.inner_action, chosen[i])
                observation, reward, terminated, truncated, info = env.step(taken)
                features, outcomes = self._features(observation), [info[name] for name in self.outcomes]
            except Exception as error:
                return self.rows, 0.0, False, False, _failure(self.first + i * self.stride, "step", error)
            self._of_features[i][:], self._of_rest[i][:] = features, (*outcomes, reward, terminated, truncated)
        return self.rows, 0.0, False, False, {}

    def _features(self, observation: Any) -> Any:
        """The observation as `spaces.flatten` makes it, which takes longer than a comparison of types."""
        if type(observation) is np.ndarray and observation.ndim == 1 and observation.dtype == self._vector:
            return observation
        return spaces.flatten(self.inner_observation, observation)

    def close(self) -> None:
        for env in self.envs:
            env.close()


class Pool:
    """`number` environments.

    Args:
        maker: makes each of them.
        number: how many.
        workers: processes; 0 is none, in this process.
        timeout: seconds after which a worker that has not answered is given up.
    """

    def __init__(self, maker: Maker, number: int, workers: int, timeout: float) -> None:
        self.number, self.workers, self.timeout = number, min(workers, number), timeout
        self.chunks: Any
        if not self.workers:
            self.chunks = Chunk(maker, number)
            return
        each = -(-number // self.workers)
        made = [_MakeChunk(maker, each, w, self.workers) for w in range(self.workers)]
        # Neither the parent's memory nor its open files: a worker must notice when the parent is gone. Rows are copied
        # once, by those who ask for them.
        self.chunks = AsyncVectorEnv(made, copy=False, context="spawn", autoreset_mode=AutoresetMode.DISABLED)

    def reset(self, seeds: np.ndarray, tasks: np.ndarray | None = None) -> np.ndarray:
        """Reset environments; rows of all: features, outcomes, reward, terminated, truncated.

        Args:
            seeds: one for each of the first environments; −1 leaves one alone.
            tasks: task parameters of each, or None to keep them.
        """
        options = {"seeds": seeds, "tasks": tasks}
        if not self.workers:
            return self._rows(lambda: self.chunks.reset(options=options))
        self._answer(lambda: self.chunks.reset_async(options=options))
        return self._rows(lambda: self.chunks.reset_wait(timeout=self.timeout))

    def step(self, actions: np.ndarray) -> np.ndarray:
        """Step environments; rows as of `reset`, which the next call overwrites.

        Args:
            actions: of each of the first environments; NaN leaves one alone.
        """
        n = self._size
        padded = actions
        if len(actions) < n:
            padded = np.full((n, actions.shape[1]), np.nan)
            padded[: len(actions)] = actions
        if not self.workers:
            return self._rows(lambda: self.chunks.step(padded))
        by_worker = np.ascontiguousarray(padded.reshape(-1, self.workers, actions.shape[1]).swapaxes(0, 1))

        def step() -> tuple[Any, ...]:
            self.chunks.step_async(by_worker)
            answer: tuple[Any, ...] = self.chunks.step_wait(timeout=self.timeout)
            return answer

        return self._rows(step)

    @property
    def _size(self) -> int:
        return self.number if not self.workers else -(-self.number // self.workers) * self.workers

    def _rows(self, call: Callable[[], tuple[Any, ...]]) -> np.ndarray:
        """The rows that the chunks return, in the order of the environments.

        Raises:
            ResourceError: naming the first environment that raised; see `_answer` for workers that fail.
        """
        answer = self._answer(call)
        rows: np.ndarray = answer[0]
        infos: dict[str, Any] = answer[-1]
        if "failed" in infos:
            failed, reasons = np.atleast_1d(infos["failed"]), np.atleast_1d(infos["reason"])
            where = np.flatnonzero([reason is not None for reason in reasons])
            self.close(terminate=True)
            raise ResourceError("env", reasons[where[failed[where].argmin()]])
        return rows if not self.workers else rows.swapaxes(0, 1).reshape(self._size, -1)[: self.number]

    def _answer(self, call: Callable[[], Any]) -> Any:
        """What `call` returns.

        Raises:
            ResourceError: if a worker raised, died or did not answer in time.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Gymnasium's own account of a worker's error
                return call()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if self.workers:
                if isinstance(error, EOFError | ConnectionError):  # a pipe is closed before its process has ended
                    connection.wait([process.sentinel for process in self.chunks.processes], timeout=self.timeout)
                dead = [w for w, process in enumerate(self.chunks.processes) if not process.is_alive()]
                late = [w for w, pipe in enumerate(self.chunks.parent_pipes) if pipe is not None and not pipe.poll()]
                if isinstance(error, EOFError | ConnectionError | BrokenPipeError) and dead:
                    codes = ", ".join(f"{w} (exit code {self.chunks.processes[w].exitcode})" for w in dead)
                    reason = f"worker {codes} died"
                elif "imeout" in type(error).__name__:
                    reason = f"worker {', '.join(map(str, late))} did not answer within {self.timeout:g} s"
            self.close(terminate=True)
            raise ResourceError("env", reason) from error

    def close(self, *, terminate: bool = False) -> None:
        if self.workers and terminate:  # a call may be pending, for which `close` would wait
            for process in self.chunks.processes:
                process.terminate()
                process.join()
            self.chunks.closed = True
        else:
            self.chunks.close()


@dataclass(frozen=True)
class _MakeChunk:
    maker: Maker
    number: int
    first: int
    stride: int

    def __call__(self) -> Chunk:
        return Chunk(self.maker, self.number, self.first, self.stride)
