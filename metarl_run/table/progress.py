"""What a table in progress looks like: bars for all tasks and for each life, or a line for each life that ended."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from metarl_run.report.output import standard_output
from metarl_run.table import store
from metarl_run.table.life import Life

MOST_BARS = 8
"""Lives shown at once."""


class Shown:
    """Follows lives by their folders.

    Args:
        bars: where they are drawn.
        root: the table's folder.
    """

    def __init__(self, bars: Progress, root: Path) -> None:
        self.bars, self.root = bars, root
        self.total = bars.add_task("tasks lived", total=0, visible=False)
        self.open: dict[str, Life] = {}
        self.count = self.ended_tasks = self.ended = 0
        self.single: dict[str, TaskID] = {}

    def begin(self, lives: Sequence[Life]) -> None:
        """From now on these lives are under way or wait."""
        self.open = {life.place: life for life in lives}
        self.ended_tasks = self.ended = 0
        self.bars.update(self.total, total=sum(life.tasks for life in lives), visible=bool(lives))
        self.count = len(lives)

    def end(self, life: Life, problem: str | None) -> None:
        """One has ended."""
        self.open.pop(life.place, None)
        self.ended, self.ended_tasks = self.ended + 1, self.ended_tasks + life.tasks
        if life.place in self.single:
            self.bars.remove_task(self.single.pop(life.place))
        told = "done" if problem is None else f"failed: {problem}"
        self.bars.console.print(f"[{self.ended}/{self.count}] {life.name}: {told}", markup=False, soft_wrap=True)

    def look(self) -> None:
        """Draw how far the open ones are."""
        if not self.bars.live.is_started:
            return
        done = {place: store.tasks_done(self.root / place, life) for place, life in self.open.items()}
        self.bars.update(self.total, completed=self.ended_tasks + sum(done.values()))
        for place, life in self.open.items():
            under_way = 0 < done[place] < life.tasks
            if under_way and place not in self.single and len(self.single) < MOST_BARS:
                self.single[place] = self.bars.add_task(life.name, total=life.tasks)
            if place in self.single:
                self.bars.update(self.single[place], completed=done[place])


@contextlib.contextmanager
def progress(root: Path) -> Iterator[Shown]:
    """Bars on a terminal for as long as the context lasts; elsewhere only lines."""
    console = standard_output()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bars:
        yield Shown(bars, root)
