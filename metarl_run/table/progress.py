"""What a table in progress looks like: bars for all tasks and for each job, or a line for each job that ended."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from metarl_run.report.output import standard_output
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob

MOST_BARS = 8
"""Lives shown at once."""


class Shown:
    """Follows jobs by their folders.

    Args:
        bars: where they are drawn.
        root: the table's folder.
    """

    def __init__(self, bars: Progress, root: Path) -> None:
        self.bars, self.root = bars, root
        self.total = bars.add_task("tasks lived", total=0, visible=False)
        self.open: dict[str, EvaluationJob] = {}
        self.count = self.ended_tasks = self.ended = 0
        self.single: dict[str, TaskID] = {}

    def begin(self, jobs: Sequence[EvaluationJob]) -> None:
        """From now on these jobs are under way or wait."""
        self.open = {job.folder: job for job in jobs}
        self.ended_tasks = self.ended = 0
        self.bars.update(self.total, total=sum(job.tasks for job in jobs), visible=bool(jobs))
        self.count = len(jobs)

    def end(self, job: EvaluationJob, problem: str | None) -> None:
        """One has ended."""
        self.open.pop(job.folder, None)
        self.ended, self.ended_tasks = self.ended + 1, self.ended_tasks + job.tasks
        if job.folder in self.single:
            self.bars.remove_task(self.single.pop(job.folder))
        told = "done" if problem is None else f"failed: {problem}"
        self.bars.console.print(f"[{self.ended}/{self.count}] {job.name}: {told}", markup=False, soft_wrap=True)

    def look(self) -> None:
        """Draw how far the open ones are."""
        if not self.bars.live.is_started:
            return
        done = {folder: store.tasks_done(self.root / folder, job) for folder, job in self.open.items()}
        self.bars.update(self.total, completed=self.ended_tasks + sum(done.values()))
        for folder, job in self.open.items():
            under_way = 0 < done[folder] < job.tasks
            if under_way and folder not in self.single and len(self.single) < MOST_BARS:
                self.single[folder] = self.bars.add_task(job.name, total=job.tasks)
            if folder in self.single:
                self.bars.update(self.single[folder], completed=done[folder])


@contextlib.contextmanager
def progress(root: Path) -> Iterator[Shown]:
    """Bars on a terminal for as long as the context lasts; elsewhere only lines."""
    console = standard_output()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        yield Shown(bars, root)
