"""Comparison of a sweep's jobs: one curve per group, over all finished seeds.

A sweep folder holds one folder per job. Jobs that differ only in their seed form a group; a job without a complete,
finite result is counted and named, and never enters a mean.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from metarl_run.report import markup
from metarl_run.report.figure import USUAL, PictureOptions
from metarl_run.report.folder import short
from metarl_run.report.interval import coverage_note, plus_minus
from metarl_run.report.output import standard_output
from metarl_run.report.published import Verdict, precise, verdict
from metarl_run.report.run.terminal import duration, in_ascii, number, thousands
from metarl_run.report.sweep import learning
from metarl_run.report.sweep.columns import Columns, columns_of
from metarl_run.report.sweep.groups import Group, grouped, outcomes_of
from metarl_run.report.sweep.jobs import Job, job_order, read_jobs
from metarl_run.report.sweep.panels import draw
from metarl_run.report.tasks import benchmark_text, hash_of_tasks, remarkable, tasks_text
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text

CSV_COLUMNS = ("algo", "env", "variant", "adaptation_step", "episodes_seen", "env_steps_seen")
STATISTICS = ("mean", "iqm", "low", "high")
EXACT = ("expected", "optimum")
"""Optional entries of a curve."""


@dataclass(frozen=True, kw_only=True)
class SweepReport:
    """Result of `write`; prints itself as a rich table.

    Attributes:
        failed: jobs without a result; if there are any, the sweep ends with exit code 6.
        files: written files.
    """

    folder: Path
    groups: Sequence[Group]
    failed: Sequence[Job]
    files: Sequence[Path]

    @property
    def notes(self) -> list[str]:
        """Caveats for the reader."""
        return notes_of(self.groups)

    def show(self) -> None:
        """Print the report on standard output."""
        standard_output().print(self, crop=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        def line(text: str, style: str = "") -> Text:
            made = Text(text, style, no_wrap=True, overflow="ignore")
            return in_ascii(made) if options.ascii_only else made

        yield Text()
        yield table_of(self.groups, options.max_width, "+/-" if options.ascii_only else "±")
        for env, optimum in optima_of(self.groups).items():
            yield line(f"optimum on {env}: {optimum}")
        for note in self.notes:
            wrapped = Text(note, "dim")
            yield in_ascii(wrapped) if options.ascii_only else wrapped
        for job in self.failed:
            code = "no exit code" if job.exit_code is None else f"exit code {job.exit_code}"
            yield line(f"failed: {job.overrides or job.name} · {code} · {job.problem}", "red")
            yield line(f"  log: {short(job.log)}")
        for path in self.files:
            yield line(short(path))


def write(
    folder: Path, groups: Sequence[Group] | None = None, options: PictureOptions = USUAL, *, page: bool = False
) -> SweepReport:
    """Write comparison.csv, .md, .json, .png and .svg, learning_curve.png and .svg, and maybe report.html.

    Args:
        folder: where to; without `groups`, that of the sweep whose jobs are compared.
        groups: what is compared.
        options: of the pictures.
        page: write report.html.
    """
    if groups is None:
        groups = grouped(read_jobs(folder))
    everything = [job for group in groups for job in (*group.jobs, *group.repeats)]
    failed = sorted((job for job in everything if job.problem is not None), key=lambda job: job_order(job.folder))
    files = [
        write_atomically(folder / "comparison.csv", csv_of(groups).encode()),
        write_atomically(folder / "comparison.json", json_of(groups, failed).encode()),
    ]
    if any(group.curve for group in groups):
        files += draw(folder / "comparison", groups, options)
        files += learning.draw(folder / "learning_curve", groups, [*map(learning.learning_of, groups)], options)
    markdown = markdown_of(groups, failed, folder)
    files.append(write_atomically(folder / "comparison.md", markdown.encode()))
    if page:
        files.append(write_page(folder, groups, options.title))
    return SweepReport(folder=folder, groups=groups, failed=failed, files=sorted(files))


def write_page(folder: Path, groups: Sequence[Group], title: str | None = None) -> Path:
    """Write report.html."""
    from metarl_run.report.page import page  # only some comparisons have one

    text = page.page(groups, title or page.heading_of(groups), notes_of(groups), beside=folder)
    return write_atomically(folder / "report.html", text.encode())


def csv_of(groups: Sequence[Group]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    outcomes = [f"{name}{end}" for name in outcomes_of(groups) for end in ("", "_low", "_high")]
    writer.writerow([*CSV_COLUMNS, *STATISTICS, *EXACT, "seeds_finished", "seeds", *outcomes])
    for group in groups:
        for point in group.points:
            numbers = [point[name] for name in (*CSV_COLUMNS[3:], *STATISTICS)]
            exact, beside = ([point.get(name) for name in names] for names in (EXACT, outcomes))  # None: an empty cell
            seeds = (group.num_finished, len(group.seeds))
            writer.writerow([group.algo, group.env, group.variant, *numbers, *exact, *seeds, *beside])
    return text.getvalue()


def json_of(groups: Sequence[Group], failed: Sequence[Job]) -> str:
    content = {
        "groups": [
            {
                "algo": group.algo,
                "env": group.env,
                "variant": group.variant,
                "seeds": list(group.seeds),
                "failed_seeds": list(group.failed_seeds),
                "meta_test": group.curve,
                "lifetime_return": group.lifetime_return,
                "published": group.published,
                "panel": group.panel,
                "meta_train_env_steps": group.meta_train_env_steps,
                "wall_seconds": group.wall_seconds,
                "cpu_seconds": group.cpu_seconds,
                "tasks": group.tasks,
                "family_versions": list(group.family_versions),
                "tasks_hashes": {str(seed): found for seed, found in group.tasks_hashes.items()},
                "left_out": list(group.left_out),
            }
            for group in groups
        ],
        "failed": [
            {"job": job.name, "overrides": job.overrides, "exit_code": job.exit_code, "reason": job.problem}
            for job in failed
        ],
    }
    return json_text(content, ensure_ascii=False)


def cells_of(group: Group, columns: Columns, sign: str) -> list[str]:
    """For each column the mean, ± half of its 95 % interval."""
    return [
        missing(sign) if point is None else f"{number(point['mean'])}{plus_minus(point, number, sign)}"
        for point in columns.points(group)
    ]


def outcome_cells(group: Group, names: Sequence[str], columns: Columns, sign: str) -> list[str]:
    """Each outcome in the last column: the mean, ± half of its 95 % interval."""
    (point,) = columns.last.points(group) or [None]
    return [
        missing(sign)
        if point is None or name not in point
        else number(point[name])
        + plus_minus({"low": point[f"{name}_low"], "high": point[f"{name}_high"]}, number, sign)
        for name in names
    ]


def outcome_titles(names: Sequence[str], columns: Columns) -> list[str]:
    """`success k=3`."""
    return [f"{name} {columns.titles[-1]}" for name in names if columns.titles]


def missing(sign: str) -> str:
    return "–" if sign == "±" else "-"


COST = ("training steps", "CPU time", "wall time")
ROOM_FOR_COUNTS = 4
"""Minimum number of curve columns beside which a terminal also shows the first two of `COST`."""


def cost_of(group: Group, sign: str) -> list[str]:
    """Environment steps of meta-training, and CPU and wall time of one run."""
    steps, times = group.meta_train_env_steps, (group.cpu_seconds, group.wall_seconds)
    return [
        missing(sign) if steps is None else thousands(steps),
        *(missing(sign) if seconds is None else duration(seconds) for seconds in times),
    ]


LIFETIMES = ("lifetime return", "published")


def lifetimes_of(groups: Sequence[Group], sign: str) -> list[list[str]]:
    """For each group the cells under `LIFETIMES`, `157.5 ±0.6` and `156.2, matched`; empty if nothing is published."""
    if not any(group.published for group in groups):
        return [[] for _ in groups]
    cells = []
    for group in groups:
        lifetime, published, judged = group.lifetime_return, group.published, verdict_of(group)
        ours = f"{precise(lifetime['mean'])}{plus_minus(lifetime, number, sign)}" if lifetime else missing(sign)
        outcome = f", {judged.word}" if judged else ""
        cells.append([ours, f"{published['lifetime_return']:g}{outcome}" if published else missing(sign)])
    return cells


def verdict_of(group: Group) -> Verdict | None:
    """Verdict on the lifetime return; None without a result or without a published one."""
    if group.lifetime_return is None or group.published is None:
        return None
    return verdict(group.lifetime_return, group.published)


def notes_of(groups: Sequence[Group]) -> list[str]:
    """Caveats for the reader: coverage of intervals, versions of tasks, few distinct tasks, jobs that are left out."""
    notes = [coverage_note([group.num_finished for group in groups if group.curve])]
    if any(group.curve and None in group.curve["low"] for group in groups):
        notes.append("One task: no interval.")
    notes += scales_of(groups)
    notes += benchmarks_of(groups)
    for group in groups:
        name = f"{group.label} on {group.env}"
        if group.tasks is not None and remarkable(group.tasks):
            notes.append(f"{name}: {tasks_text(group.tasks)}.")
        if (judged := verdict_of(group)) and judged.reason:
            notes.append(f"{name}: {judged}.")
        notes += [f"{name}: {line}, so it is left out." for line in group.left_out]
    return [line for line in notes if line]


def scales_of(groups: Sequence[Group]) -> list[str]:
    """A line if there are several families, whose returns cannot share an axis."""
    envs = list(dict.fromkeys(group.env for group in groups))
    if len(envs) < 2:
        return []
    names = f"{', '.join(envs[:-1])} and {envs[-1]}"
    return [f"{names}: returns of different families have no common scale; one chart each (--env {envs[0]})."]


def benchmarks_of(groups: Sequence[Group]) -> Iterator[str]:
    """Version and held-out tasks of each env in one line, and a line if its results are not on the same ones."""
    for env in dict.fromkeys(group.env for group in groups):
        members = [group for group in groups if group.env == env]
        versions = list(dict.fromkeys(version for group in members for version in group.family_versions))
        by_seed: dict[int | None, dict[str, None]] = {}
        for group in members:
            for seed, tasks_hash in group.tasks_hashes.items():
                by_seed.setdefault(seed, {})[tasks_hash] = None
        differ = [str(seed) for seed, of_seed in by_seed.items() if len(of_seed) > 1]
        if len(versions) > 1:
            found = " and ".join(versions)
            yield f"{env}: results on different versions of the task family, {found}; do not compare them."
        if differ:
            yield f"{env}: results in different held-out tasks at seed {', '.join(differ)}."
        if len(versions) == 1:
            hashes = [tasks_hash for of_seed in by_seed.values() for tasks_hash in of_seed]
            tasks = None if differ or not hashes else hashes[0] if len(hashes) == 1 else hash_of_tasks(hashes)
            yield f"{env}: {benchmark_text(versions[0], tasks)}."


def optima_of(groups: Sequence[Group]) -> dict[str, str]:
    """Known optimum of each env: `21.7`, or a range if groups were tested in different tasks."""
    found: dict[str, list[float]] = {}
    for group in groups:
        if group.optimum is not None:
            found.setdefault(group.env, []).append(group.optimum)
    return {env: " to ".join(dict.fromkeys(map(number, (min(x), max(x))))) for env, x in found.items()}


def table_of(groups: Sequence[Group], width: int, sign: str) -> Table:
    """The comparison for a terminal: a block per env, and as many columns as fit."""
    names = max((len(name) for group in groups for name in (group.env, group.label)), default=0)
    lifetimes, outcomes = lifetimes_of(groups, sign), outcomes_of(groups)
    taken = sum(3 + max(map(len, cells)) for cells in zip(*lifetimes, strict=True)) + 13 * len(outcomes)
    room = (width - names - 28 - taken) // 12
    counts = 2 if room > ROOM_FOR_COUNTS + 2 else 0
    room -= counts
    # Beside lifetime returns, returns of episodes are shown if at least the first and the last fit.
    columns = columns_of(groups, min(8, max(2, room)) if not taken or room >= 2 else 0)
    table = Table(
        box=box.SIMPLE_HEAD,
        header_style="dim",
        border_style="dim",
        pad_edge=False,
        title=f"{columns.meaning}, mean and 95 % interval",
        title_style="bold",
        title_justify="left",
    )
    table.add_column("")
    titles = [title.replace(" ", "\n") for title in outcome_titles(outcomes, columns)]
    titles += [title.replace(" ", "\n") for title in LIFETIMES if any(lifetimes)]
    for title in (*columns.titles, *titles, "seeds", *(title.replace(" ", "\n") for title in COST[:counts]), COST[-1]):
        table.add_column(title, justify="right", no_wrap=True, overflow="crop")
    shown = None
    for group, lifetime in zip(groups, lifetimes, strict=True):
        if group.env != shown:
            if shown is not None:
                table.add_section()
            table.add_row(Text(group.env, "bold"))
            shown = group.env
        table.add_row(
            f"  {group.label}",
            *cells_of(group, columns, sign),
            *outcome_cells(group, outcomes, columns, sign),
            *lifetime,
            Text(group.finished, "red" if group.failed_seeds else ""),
            *cost_of(group, sign)[0 if counts else -1 :],
        )
    return table


def markdown_of(groups: Sequence[Group], failed: Sequence[Job], sweep_folder: Path) -> str:
    columns = columns_of(groups, 8)
    lifetimes, outcomes = lifetimes_of(groups, "±"), outcomes_of(groups)
    beside = outcome_titles(outcomes, columns)
    titles = [
        "env",
        "algo",
        *columns.titles,
        *beside,
        *(title for title in LIFETIMES if any(lifetimes)),
        "seeds",
        *COST,
    ]
    rows = [
        [
            *(group.env, group.label),
            *cells_of(group, columns, "±"),
            *outcome_cells(group, outcomes, columns, "±"),
            *lifetime,
            *(finished_of(group), *cost_of(group, "±")),
        ]
        for group, lifetime in zip(groups, lifetimes, strict=True)
    ]
    aligned = [":--", ":--", *("--:" for _ in titles[2:])]
    table = "\n".join(map(markup.row, (titles, aligned, *rows)))
    about = f"{columns.meaning}, on held-out tasks: mean ± half of its 95 % interval over seeds and tasks."
    parts = ["# Comparison", about, table]
    if notes := notes_of(groups):
        parts.append("\n".join(f"- {markup.text(note)}" for note in notes))
    if optima := optima_of(groups):
        where = ", ".join(f"{optimum} on {env}" for env, optimum in optima.items())
        parts.append(f"Optimum, the expected return of the best policy of each task: {markup.text(where)}.")
    sources = dict.fromkeys(group.published["source"] for group in groups if group.published)
    if source_text := "; ".join(source for source in sources if source):
        parts.append(f"Published: {markup.text(source_text)}.")
    if any(group.curve for group in groups):
        parts.append("![Adaptation curves](comparison.png)")
    if failed:
        parts.append("## Failed jobs")
        parts.append(
            "\n".join(
                f"- {markup.code(job.overrides or job.name)}: {markup.text(str(job.problem))} "
                f"({'no exit code' if job.exit_code is None else f'exit code {job.exit_code}'}; "
                f"log {markup.code(os.path.relpath(job.log, sweep_folder))})"
                for job in failed
            )
        )
    return "\n\n".join(parts) + "\n"


def finished_of(group: Group) -> str:
    missing = ", ".join(str(seed) for seed in group.failed_seeds)
    return f"{group.finished} (without {missing})" if missing else group.finished
