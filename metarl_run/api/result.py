"""Results of runs and sweeps, read from their folders, and comparisons of any of them."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from metarl_run.config.plan import stored_plan
from metarl_run.errors import StateError
from metarl_run.files import plain_only
from metarl_run.report.compare import read_all
from metarl_run.report.folder import NUMBER_OF, read_summary
from metarl_run.report.sweep.groups import Group, grouped
from metarl_run.report.sweep.jobs import Job, job_folders, job_order
from metarl_run.report.sweep.sweep import CSV_COLUMNS, SweepReport, csv_of, write

if TYPE_CHECKING:
    from metarl_run.api.agent import Agent

Table = Any
"""A DataFrame where pandas is installed, else the columns by name: `dict[str, list]`."""


def read(run_or_sweep: str | Path) -> "Result | Sweep":
    """What is in the folder of a run or a sweep, finished or not.

    Raises:
        StateError: if it is neither.
    """
    folder = Path(run_or_sweep).expanduser()
    if not folder.is_dir():
        raise StateError(str(folder), "there is no such folder")
    if (folder / "run.json").is_file():
        return Result(folder)
    jobs = sorted(job_folders(folder), key=job_order)
    if not jobs:
        raise StateError(str(folder), "holds neither a run nor a sweep", "give a folder below outputs/")
    return Sweep(folder, tuple(Result(job) for job in jobs))


def compare(runs: Iterable["str | Path | Result | Sweep"]) -> "Comparison":
    """Runs and sweeps side by side, whenever and wherever they were made; runs that differ only in seed are one group.

    Raises:
        StateError: if there are none.
    """
    folders = [Path(each).expanduser() if isinstance(each, str | Path) else each.folder for each in runs]
    if not folders:
        raise StateError("compare", "there are no runs to compare", "give folders of runs or sweeps")
    jobs = read_all(folders)
    return Comparison(tuple(grouped(jobs)), tuple(job for job in jobs if job.problem is not None))


@dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
        folder: of the run.
    """

    folder: Path

    def __repr__(self) -> str:
        return f"<Result {self.folder}: {self.status}>"

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json; empty while the run goes on."""
        return read_summary(self.folder) if (self.folder / "summary.json").is_file() else {}

    @property
    def status(self) -> str:
        """`complete`, `interrupted`, `failed`, or `unfinished` where nobody has told."""
        return str(self.summary.get("status", "unfinished"))

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration."""
        return stored_plan(self.folder).config

    @property
    def choices(self) -> Mapping[str, str]:
        """The chosen option of each group."""
        return stored_plan(self.folder).choices

    @property
    def curve(self) -> Table:
        """The adaptation curve of the meta-test: a row per adaptation step; its columns: `metarl_run.maths.statistics`.

        Raises:
            StateError: if the run is not complete.
        """
        if "meta_test" not in self.summary:
            raise StateError(str(self.folder), f"has no result: it is {self.status}")
        return table(self.summary["meta_test"])

    @property
    def metrics(self) -> Table:
        """A row per meta-iteration: returns before and after adaptation, losses, steps."""
        return table(_columns(self.folder / "metrics.csv"))

    @property
    def adaptation(self) -> Table:
        """A row per task and adaptation step of every evaluation on held-out tasks."""
        return table(_columns(self.folder / "adaptation.csv"))

    def load(self, **options: Any) -> "Agent":
        """The agent, see `metarl_run.api.agent.load`."""
        from metarl_run.api.agent import load

        return load(self.folder, **options)


@dataclass(frozen=True)
class Sweep(Sequence[Result]):
    """The runs of a sweep.

    Attributes:
        folder: of the sweep.
        results: of its jobs, in their order.
    """

    folder: Path
    results: tuple[Result, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    @property
    def failed(self) -> list[Result]:
        """Runs without a complete result."""
        return [result for result in self.results if result.status != "complete"]

    @property
    def comparison(self) -> "Comparison":
        """The runs side by side."""
        return compare([self])

    @property
    def curve(self) -> Table:
        """The adaptation curves, see `Comparison.table`."""
        return self.comparison.table


@dataclass(frozen=True)
class Comparison:
    """Groups of runs that differ only in their seed, and their adaptation curves; it prints itself as a table.

    Attributes:
        groups: ordered by env, algo and what else distinguishes them.
        failed: runs without a result.
    """

    groups: tuple[Group, ...]
    failed: tuple[Job, ...]

    @property
    def table(self) -> Table:
        """A row per group and adaptation step: return, its interval, and the number of finished seeds."""
        return table(_numbers(csv.reader(io.StringIO(csv_of(self.groups)))))

    def save(self, folder: str | Path) -> list[Path]:
        """Write tables, pictures and report.html, a page for a browser, to a folder; return their paths.

        As `metarl-run report` does, which has options for pictures; see `metarl_run.report.compare.write`.
        """
        place = Path(folder).expanduser()
        place.mkdir(parents=True, exist_ok=True)
        return list(write(place, self.groups, page=True).files)

    def __str__(self) -> str:
        text = io.StringIO()
        report = SweepReport(folder=Path(), groups=self.groups, failed=self.failed, files=())
        Console(file=text, width=120, highlight=False, markup=False, emoji=False).print(report, crop=False)
        return text.getvalue().strip("\n")

    __repr__ = __str__


def table(columns: Mapping[str, Sequence[Any]]) -> Table:
    """Columns of equal length as a table."""
    try:
        import pandas
    except ModuleNotFoundError:
        return {name: list(values) for name, values in columns.items()}
    return pandas.DataFrame(dict(columns))


TEXTS = ("split", *CSV_COLUMNS[:3])
"""Columns that hold no numbers."""


def _columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a run's file; none before its first row."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8", newline="", opener=plain_only) as file:
        return _numbers(csv.reader(file))


def _numbers(rows: Iterator[list[str]]) -> dict[str, list[Any]]:
    """Columns with their types: an empty cell is None."""
    names, *cells = rows
    kinds = [NUMBER_OF.get(name, str if name in TEXTS else float) for name in names]
    columns = zip(*cells, strict=True) if cells else ([] for _ in names)
    return {
        name: [kind(cell) if cell or kind is str else None for cell in column]
        for name, kind, column in zip(names, kinds, columns, strict=True)
    }
