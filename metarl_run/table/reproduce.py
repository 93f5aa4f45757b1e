"""A paper's table in one folder: run missing jobs, then report.

Finished jobs are read from the folder, so an interrupted table resumes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl_run.config.table import Table, table_of
from metarl_run.errors import DONE, SWEEP_HAS_FAILURES, ConfigError, StateError
from metarl_run.system import machine
from metarl_run.system.atomic import refusals
from metarl_run.system.interruption import StopRequest
from metarl_run.system.lock import locked
from metarl_run.table import asked, store
from metarl_run.table.cells import Cell, cells_of, shared_jobs, tuning_jobs
from metarl_run.table.job import EvaluationJob
from metarl_run.table.learned import learned_jobs, stored_jobs
from metarl_run.table.pool import run_all
from metarl_run.table.progress import progress
from metarl_run.table.record import record_of
from metarl_run.table.tuning import Choice, choices_of


@dataclass(frozen=True, kw_only=True)
class Work:
    """A table, its folder, and the jobs that are known before any has run."""

    table: Table
    config: Mapping[str, Any]
    root: Path
    cells: Sequence[Cell]
    tuning: Mapping[Cell, Sequence[EvaluationJob]]
    learned: Mapping[Cell, Sequence[EvaluationJob]]

    @property
    def classical(self) -> list[Cell]:
        return [cell for cell in self.cells if not self.table.agents[cell.column].learned]

    def choices(self) -> dict[Cell, Choice]:
        """Tuning results so far."""
        return choices_of(self.table, self.root, self.classical, self.tuning)

    def reporting(self, choices: Mapping[Cell, Choice]) -> dict[Cell, EvaluationJob]:
        """Reporting jobs of the cells whose setting is known."""
        known = {cell: choice.setting for cell, choice in choices.items() if choice.setting is not None}
        return shared_jobs(self.table, self.config, "reporting", known)


def reproduce(config: Mapping[str, Any], root: Path, arguments: Sequence[str], stop: StopRequest) -> int:
    """Make the table that `config` declares in `root` and return the exit code.

    Args:
        config: resolved and validated.
        root: the table's folder.
        arguments: command-line arguments that experiments are composed with, too, such as --config-dir.
        stop: stop request, set by a signal.

    Raises:
        RunError: see `metarl_run.errors`, before anything is created; a cell's failure is part of the table instead.
        Interrupted: on a stop request; finished parts are kept.
    """
    work = planned(config, root, arguments)
    if not work.table.report_only:
        with refusals(root, "make"):
            root.mkdir(parents=True, exist_ok=True)
        with locked(root):
            asked.write(root, config, work.learned)
            _run_missing(work, stop)
    choices = work.choices()
    jobs = {cell: [job] for cell, job in work.reporting(choices).items()} | dict(work.learned)
    record = record_of(work.table, root, work.cells, choices, jobs)
    if all(cell["status"] == "missing" for cell in record["cells"]):
        raise StateError(str(root), "holds no finished cell to report", "leave out table.report_only")
    from metarl_run.report.table import report  # imports torch, which refusals of bad configurations must not

    made = report.write(record, root)
    made.show()
    return SWEEP_HAS_FAILURES if any(cell["status"] == "failed" for cell in record["cells"]) else DONE


def planned(config: Mapping[str, Any], root: Path, arguments: Sequence[str]) -> Work:
    """The jobs of the table that `config` declares; nothing is created.

    Raises:
        ConfigError: if a learned cell has no finished run and none may be trained.
    """
    table = table_of(config["table"])
    cells = cells_of(table)
    to_learn = [cell for cell in cells if table.agents[cell.column].learned]
    if table.report_only:
        learned = stored_jobs(table, config, to_learn, root, asked.learned_folders(root))
    else:
        learned = learned_jobs(table, config, to_learn, root, arguments)
    cells = [cell for cell in cells if cell in learned or not table.agents[cell.column].learned]
    if not cells:
        reason = "must name a learned column that has an experiment for the rows: nothing else is in this table"
        raise ConfigError("table.columns", reason, f"there is {', '.join(table.agents)}")
    return Work(
        table=table,
        config=config,
        root=root,
        cells=cells,
        tuning=tuning_jobs(table, config, cells),
        learned=learned,
    )


def _run_missing(work: Work, stop: StopRequest) -> None:
    """Run missing jobs: first those known now, then those of the settings that tuning has chosen."""
    table = work.table
    num_workers = table.jobs or machine.cpus()
    to_tune = [job for jobs in work.tuning.values() for job in jobs]
    to_train = [job for jobs in work.learned.values() for job in jobs]
    failed: set[str] = set()
    with progress(work.root) as display:
        for _ in range(2):
            jobs = [*to_tune, *work.reporting(work.choices()).values(), *to_train]
            unique = {job.folder: job for job in jobs if job.folder not in failed}
            missing = [job for job in unique.values() if not store.read(work.root / job.folder, job).complete]
            if missing and work.config["products"] == "auto":
                _choose_products(work.root)
            display.begin(missing)
            for ended in run_all(missing, work.root, num_workers, stop):
                if ended is not None:
                    job, problem = ended
                    display.end(job, problem)
                    if problem is not None:
                        failed.add(job.folder)
                display.update()


def _choose_products(root: Path) -> None:
    """Choose the libraries that multiply once, for all workers."""
    from metarl_run.run import products  # imports torch, which refusals of bad configurations must not

    products.share(root, begun=any(root.rglob("life.json")))
