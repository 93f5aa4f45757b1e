"""Sinks: destinations of the rows and pictures of a run. They know column names and nothing about RL."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from metarl_run.component import Component

Position = Mapping[str, int | str]
"""State of a sink's files at a checkpoint: lengths, hashes, numbers of rows."""


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Facts about a run, given to every sink when the run begins.

    Attributes:
        folder: the run folder.
        config: the resolved configuration, plain containers.
        algo, env, learner: names of the chosen options, as on the command line.
        seed: the run's seed.
        meta_iterations: meta-updates planned.
        in_sweep: the run is one of many and should print little at its end.
        sweep: name of the sweep that it is a job of.
        first_iteration: meta-updates already done by the run that is resumed; 0 for a new run.
    """

    folder: Path
    config: Mapping[str, Any]
    algo: str
    env: str
    learner: str
    seed: int
    meta_iterations: int
    first_iteration: int
    in_sweep: bool = False
    sweep: str | None = None


class Sink(Component, ABC):
    """A destination of metrics, adaptation curves and pictures."""

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    def position(self) -> Position:
        """Flush this sink's own files to disk; return the length of each."""
        return {}

    def require_position(self, run_folder: Path, position: Position) -> None:
        """Raise StateError unless `position` is of the kind that `position` returns."""

    @abstractmethod
    def open(self, run: RunInfo, position: Position) -> None:
        """Begin, or go on after `run.first_iteration` meta-updates.

        Args:
            run: facts about the run.
            position: result of `position` then; rows beyond it will be written again, so they must be removed.
        """

    @abstractmethod
    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        """Record one meta-update. Keys are paths with a fixed first word; `time/…` keys come from a clock."""

    @abstractmethod
    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        """Record one evaluation: its adaptation rows, and their curve (see `metarl_run.maths.statistics`).

        Raises:
            Pruned: to end the run early.
        """

    @abstractmethod
    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """Finish a complete run; `summary` is the content of summary.json."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources. Always called last, also after a failure; calling it twice does no harm."""
