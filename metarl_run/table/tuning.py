"""Choice of the setting that a cell is reported with: the best of its grid on the tuning tasks."""

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
    """Tuning result for one cell.

    Attributes:
        setting: the best setting; None until all have finished without failure.
        means: mean return of each setting on the tuning tasks, in grid order; None where unfinished.
        seconds: time that its tuning jobs took; cells may share jobs.
        failed: the first job that failed, and its error.
    """

    setting: Mapping[str, Any] | None
    means: Sequence[float | None]
    seconds: float
    failed: tuple[EvaluationJob, Mapping[str, Any]] | None


def choices_of(
    table: Table, root: Path, cells: Sequence[Cell], jobs: Mapping[Cell, Sequence[EvaluationJob]]
) -> dict[Cell, Choice]:
    """The setting to report for each cell of a classical column, as far as tuning jobs have finished.

    Args:
        table: the requested table.
        root: its folder.
        cells: cells of classical columns.
        jobs: tuning jobs of each cell, in grid order.
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
    """Index of the setting with the highest mean on tuning tasks; the first of equals."""
    return max(sorted(means), key=lambda index: means[index])
