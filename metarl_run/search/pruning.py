"""The sink of a run that belongs to a search: it reports validations, and ends a run whose point falls behind."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_run.errors import Pruned, RunError
from metarl_run.kinds import Whole
from metarl_run.logger.base import Position, RunInfo, Sink

log = logging.getLogger(__name__)


class Pruning(Sink):
    """Reports the last value of each validation curve to the study in the sweep's folder.

    Args:
        point: number of the point that is tried.
        place: of the run's seed among those of the point, from 0.
    """

    point: Whole
    place: Whole

    def open(self, run: RunInfo, position: Position) -> None:
        self.folder = run.folder.parent
        self.key = str(run.config["objective"])
        self.every = int(run.config["validate_every"])
        self.before = self.place * (run.meta_iterations // self.every) if self.every else 0

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        pass

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        """Raise Pruned if this run should end."""
        if not self.every or rows[0]["split"] != "meta_validation":
            return
        from metarl_run.search.study import report

        iteration = int(rows[0]["iteration"])
        try:
            behind = report(self.folder, self.point, self.before + iteration // self.every, foretold(self.key, curve))
        except RunError as error:  # the study is gone or out of reach; the run is worth its result all the same
            log.warning("this run goes on without its search: %s: %s", error.where, error.reason)
            return
        if behind:
            raise Pruned(iteration)

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        pass

    def close(self) -> None:
        pass


def foretold(objective: str, curve: Mapping[str, Sequence[float]]) -> float:
    """The number of a validation curve that stands for the objective: the same entry, or the sum of a lifetime's."""
    if objective.startswith("lifetime_return"):
        return float(sum(curve["mean"]))
    return float(curve.get(objective.partition(".")[2], curve["mean"])[-1])
