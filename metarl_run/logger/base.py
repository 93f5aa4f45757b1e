"""What a sink is: a place that rows and pictures of a run go to. Sinks know column names, nothing about RL."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from metarl_run.component import Component


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What every sink is told when a run begins.

    Attributes:
        folder: the run folder.
        config: the resolved configuration, plain containers.
        algo, env, learner: names of the chosen options, as on the command line.
        seed: the run's seed.
        meta_iterations: meta-updates planned.
        in_sweep: the run is one of many, and should say little at its end.
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


class Sink(Component, ABC):
    """A destination of metrics, adaptation curves and pictures."""

    provides: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()

    def position(self) -> dict[str, int]:
        """How far each of this sink's own files reaches, once that much is safely on disk."""
        return {}

    @abstractmethod
    def open(self, run: RunInfo, position: Mapping[str, int]) -> None:
        """The run begins, or goes on after `run.first_iteration` meta-updates.

        Args:
            run: what the run is.
            position: what `position` said then; rows that files hold beyond it are lived again, so they must go.
        """

    @abstractmethod
    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        """One meta-update is done. Keys are paths with a fixed first word; `time/…` keys come from a clock."""

    @abstractmethod
    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        """One evaluation is done: its adaptation rows, and their curve (see `metarl_run.evaluation`)."""

    @abstractmethod
    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        """The run is complete; `summary` is what summary.json holds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything. Always called last, also after a failure; calling it twice does no harm."""
