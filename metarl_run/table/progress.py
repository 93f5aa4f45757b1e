"""Progress display of a table: bars for all tasks and for each job, or a line per finished job."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from metarl_run.report.output import standard_output
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob

MOST_BARS = 8
"""Maximum number of jobs with a bar of their own."""


class ProgressDisplay:
    """Display of jobs' progress, read from their folders.

    Args:
        bars: progress bars to draw on.
        root: the table's folder.
    """

    def __init__(self, bars: Progress, root: Path) -> None:
        self.bars, self.root = bars, root
        self.total = bars.add_task("tasks", total=0, visible=False)
        self.open: dict[str, EvaluationJob] = {}
        self.count = self.ended_tasks = self.ended = 0
        self.single: dict[str, TaskID] = {}

    def begin(self, jobs: Sequence[EvaluationJob]) -> None:
        """Set the jobs that are running or waiting."""
        self.open = {job.folder: job for job in jobs}
        self.ended_tasks = self.ended = 0
        self.bars.update(self.total, total=sum(job.tasks for job in jobs), visible=bool(jobs))
        self.count = len(jobs)

    def end(self, job: EvaluationJob, problem: str | None) -> None:
        """Report a job that ended."""
        self.open.pop(job.folder, None)
        self.ended, self.ended_tasks = self.ended + 1, self.ended_tasks + job.tasks
        if job.folder in self.single:
            self.bars.remove_task(self.single.pop(job.folder))
        outcome = "done" if problem is None else f"failed: {problem}"
        self.bars.console.print(f"[{self.ended}/{self.count}] {job.name}: {outcome}", markup=False, soft_wrap=True)

    def update(self) -> None:
        """Redraw the progress of unfinished jobs."""
        if not self.bars.live.is_started:
            return
        done = {folder: store.tasks_done(self.root / folder, job) for folder, job in self.open.items()}
        self.bars.update(self.total, completed=self.ended_tasks + sum(done.values()))
        for folder, job in self.open.items():
            running = 0 < done[folder] < job.tasks
            if running and folder not in self.single and len(self.single) < MOST_BARS:
                self.single[folder] = self.bars.add_task(job.name, total=job.tasks)
            if folder in self.single:
                self.bars.update(self.single[folder], completed=done[folder])


@contextlib.contextmanager
def progress(root: Path) -> Iterator[ProgressDisplay]:
    """A display for the duration of the context: bars on a terminal, otherwise lines."""
    console = standard_output()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        yield ProgressDisplay(bars, root)
