"""Which setting of its grid a cell is reported with: the one that did best in the tuning tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl_run.config.table import Table
from metarl_run.table import store
from metarl_run.table.cells import Cell, is_tuned
from metarl_run.table.job import EvaluationJob


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What tuning came to for one cell.

    Attributes:
        setting: the best one; None as long as not all were tried, or one failed.
        means: of each setting so far, on the tuning tasks, in the grid's order.
        seconds: that the jobs behind it took; cells may share them.
        failed: the job of a setting that failed, and how.
    """

    setting: Mapping[str, Any] | None
    means: Sequence[float | None]
    seconds: float
    failed: tuple[EvaluationJob, Mapping[str, Any]] | None


def choices_of(
    table: Table, root: Path, cells: Sequence[Cell], jobs: Mapping[Cell, Sequence[EvaluationJob]]
) -> dict[Cell, Choice]:
    """For each cell of a hand-made column the setting to report, as far as the files of the tuning jobs tell.

    Args:
        table: what is asked for.
        root: its folder.
        cells: of hand-made columns.
        jobs: of each tuned cell, in the grid's order.
    """
    results = {job.folder: store.read(root / job.folder, job) for tried in jobs.values() for job in tried}
    choices = {}
    for cell in cells:
        settings = table.agents[cell.column].settings
        if not is_tuned(table.agents[cell.column]):
            choices[cell] = Choice(setting=settings[0], means=[], seconds=0.0, failed=None)
            continue
        tried = [(job, results[job.folder]) for job in jobs[cell]]
        means: list[float | None] = []
        for job, result in tried:
            index = job.episodes.index(table.protocol[cell.row].episodes)
            means.append(None if result.totals is None else float(result.totals[:, index].mean()))
        known = {index: mean for index, mean in enumerate(means) if mean is not None}
        choices[cell] = Choice(
            setting=settings[best_setting(known)] if len(known) == len(settings) else None,
            means=means,
            seconds=sum(result.seconds for _, result in tried),
            failed=next(((job, result.error) for job, result in tried if result.error), None),
        )
    return choices


def best_setting(means: Mapping[int, float]) -> int:
    """The setting with the highest mean on tuning tasks; of equals the first."""
    return max(sorted(means), key=lambda index: means[index])
