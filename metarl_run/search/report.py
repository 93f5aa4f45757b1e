"""Report of a search: its points as a table and a picture, and the best of them as a command line and an experiment."""

import csv
import io
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import yaml
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

from metarl_run.config.grammar import key_of
from metarl_run.config.loader import parsed_overrides
from metarl_run.config.search import Search
from metarl_run.config.search_space import Numbers
from metarl_run.config.settings import keys_that_affect
from metarl_run.errors import RunError
from metarl_run.report.figure import COLOURS, FAINT, INK, save
from metarl_run.report.folder import short
from metarl_run.report.objective import objective_of
from metarl_run.report.output import standard_output
from metarl_run.report.run.terminal import in_ascii, number
from metarl_run.search.study import Point, Study, ranked, summary_of
from metarl_run.system.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 5
"""Points on the screen."""

EXPERIMENT = Path("experiment", "best.yaml")
"""File, in the sweep's folder, of the best point: `--config-dir SWEEP_FOLDER experiment=best`."""


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """What came of a search; prints itself.

    Attributes:
        best: the best point; None if none is complete.
        command: arguments that run it; empty as above.
        fresh: its objective with each fresh seed that has ended.
        failed: some point has no value because its run failed.
        files: written files.
    """

    search: Search
    trials: Sequence[FrozenTrial]
    importance: dict[str, float]
    best: Point | None
    command: Sequence[str]
    fresh: dict[int, float]
    files: Sequence[Path]

    @property
    def failed(self) -> bool:
        return self.best is None or any(trial.state is TrialState.FAIL for trial in self.trials)

    def show(self) -> None:
        """Print the report on standard output."""
        standard_output().print(self, crop=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for text, style in self.lines():
            made = Text(text, style, no_wrap=True, overflow="ignore")
            yield in_ascii(made) if options.ascii_only else made

    def lines(self) -> Iterator[tuple[str, str]]:
        """Lines and their styles."""
        counts = ", ".join(f"{n} {state}" for state, n in summary_of(self.trials).items() if n)
        aim = "small" if self.search.minimises else "large"
        yield "", ""
        yield f"search for a {aim} {self.search.objective}: {counts or 'no point has ended'}", "bold"
        for trial in ranked(self.trials, self.search)[:SHOWN]:
            chosen = " ".join(self.search.chosen(trial.params))
            yield f"  {number(trial.value or 0.0):>8}  point {trial.number}: {chosen}", ""
        for trial in self.trials:
            if trial.state is TrialState.FAIL:
                chosen = " ".join(self.search.chosen(trial.params))
                yield f"failed: point {trial.number}: {chosen} · {trial.user_attrs.get('reason')}", "red"
        if self.importance:
            shares = ", ".join(f"{key} {share:.0%}" for key, share in self.importance.items())
            yield f"importance: {shares}", ""
        if self.fresh:
            values = ", ".join(number(value) for value in self.fresh.values())
            seeds = ", ".join(map(str, self.fresh))
            mean = number(fmean(self.fresh.values()))
            yield f"the best with fresh seeds {seeds}, in their held-out tasks: {values}; mean {mean}", "bold"
        if self.command:
            yield f"metarl-run {shlex.join(self.command)}", ""
        for path in self.files:
            yield short(path), ""


def write(folder: Path, study: Study, flags: Sequence[str]) -> SearchReport:
    """Write search.csv, search.png and .svg, and experiment/best.yaml in the sweep's folder.

    Args:
        folder: of the sweep.
        study: of the search.
        flags: of the command line, such as `--config-dir`.
    """
    trials, search, best = study.trials, study.search, study.best
    importance = study.importance()
    files = [write_atomically(folder / "search.csv", csv_of(trials, search).encode())]
    command: list[str] = []
    fresh: dict[int, float] = {}
    if best is not None:
        files += save(folder / "search", *_size(search), lambda figure: draw(figure, trials, search, importance))
        (folder / EXPERIMENT.parent).mkdir(exist_ok=True)
        text = experiment_of(search, best, trials[best.number].value or 0.0)
        files.append(write_atomically(folder / EXPERIMENT, text.encode()))
        command = [*flags, *(text for text in search.overrides(best.values) if key_of(text) != "retry_failed")]
        fresh = dict(_fresh(folder, best, search))
    return SearchReport(
        search=search,
        trials=trials,
        importance=importance,
        best=best,
        command=command,
        fresh=fresh,
        files=sorted(files),
    )


def folder_of(point: Point, seed: int, *, final: bool = False) -> str:
    """Folder, in that of the sweep, of a run of the search, or of the best point with a fresh seed."""
    return f"{'final/' if final else ''}point_{point.number:03d}_seed_{seed}"


def _fresh(folder: Path, best: Point, search: Search) -> Iterator[tuple[int, float]]:
    for seed in search.options.final_seeds:
        try:
            yield seed, objective_of(folder / folder_of(best, seed, final=True), search.objective)
        except (OSError, ValueError, RunError):  # it failed, or has not ended
            continue


def csv_of(trials: Sequence[FrozenTrial], search: Search) -> str:
    """A row for each point: what became of it, its value, and its reason if it failed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["point", "state", search.objective, *(dimension.key for dimension in search.space), "reason"])
    for trial in trials:
        value = trial.value if trial.state is TrialState.COMPLETE else None
        chosen = [each.partition("=")[2] for each in search.chosen(trial.params)] if trial.params else []
        row = [trial.number, trial.state.name.lower(), value, *chosen]
        writer.writerow([*row, trial.user_attrs.get("reason")])
    return text.getvalue()


def experiment_of(search: Search, best: Point, value: float) -> str:
    """The best point as an experiment: options that it chooses, and values; what changes no result is left out."""
    indifferent = {*keys_that_affect("nothing"), "plugins"}
    parsed = [
        override
        for override in parsed_overrides(search.overrides(best.values))
        if override.key_or_group.partition(".")[0] not in indifferent and not override.is_delete()
    ]
    above: list[Any] = []
    defaults: list[Any] = []
    values: dict[str, Any] = {}
    for override in parsed:
        key, chosen = override.key_or_group, override.value()
        if key == "experiment":
            above += chosen if isinstance(chosen, list) else [chosen]
        elif key in search.groups:
            place = f"@{override.package}" if override.package else ""
            defaults.append({f"override /{key}{place}": chosen})
        else:
            node = values
            *path, last = key.split(".")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = chosen
    head = f"# {search.objective} {value:.5g}: the best of a search, its point {best.number}"
    entries: dict[str, Any] = {"defaults": [*above, "_self_", *defaults]} if above or defaults else {}
    return f"# @package _global_\n{head}\n{yaml.safe_dump({**entries, **values}, sort_keys=False)}"


# --- The picture ---


def _size(search: Search) -> tuple[float, float]:
    return 9.0, 2.9 * (1 + (len(search.space) + 1) // 2)


def draw(figure: "Figure", trials: Sequence[FrozenTrial], search: Search, importance: dict[str, float]) -> None:
    """History and importance above; below, each key's values and what came of them."""
    grid = figure.add_gridspec(1 + (len(search.space) + 1) // 2, 2)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    _draw_history(figure.add_subplot(grid[0, 0] if importance else grid[0, :]), trials, complete, search)
    if importance:
        axes = figure.add_subplot(grid[0, 1])
        axes.barh(range(len(importance)), [*importance.values()][::-1], color=COLOURS[0], height=0.5)
        axes.set_yticks(range(len(importance)), [*importance][::-1])
        axes.set_xlim(0, 1)
        axes.set_xlabel("importance (PED-ANOVA)")
    best = ranked(trials, search)[0]
    for place, dimension in enumerate(search.space):
        axes = figure.add_subplot(grid[1 + place // 2, place % 2])
        for of, look in ((complete, {"alpha": 0.6}), ([best], {"color": COLOURS[1]})):
            style: dict[str, Any] = {"color": COLOURS[0], "markersize": 5, **look}
            axes.plot([trial.params[dimension.key] for trial in of], [trial.value or 0.0 for trial in of], "o", **style)
        if isinstance(dimension, Numbers):
            if dimension.log:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_formatter("")
            axes.set_xlim(dimension.low, dimension.high)
        axes.set_xlabel(dimension.key)
        axes.set_ylabel(search.objective)


def _draw_history(axes: "Axes", trials: Sequence[FrozenTrial], complete: Sequence[FrozenTrial], search: Search) -> None:
    better = min if search.minimises else max
    points, values = [trial.number for trial in complete], [trial.value or 0.0 for trial in complete]
    axes.plot(points, values, "o", color=COLOURS[0], markersize=5, alpha=0.6)
    so_far = [better(values[: place + 1]) for place in range(len(values))]
    axes.step(points, so_far, where="post", color=INK, linewidth=1.2, label="best so far")
    at_the_bottom = axes.get_xaxis_transform()
    for state, mark, name in ((TrialState.PRUNED, "|", "pruned"), (TrialState.FAIL, "x", "failed")):
        at = [trial.number for trial in trials if trial.state is state]
        if at:
            axes.plot(at, [0.03] * len(at), mark, color=FAINT, transform=at_the_bottom, label=name)
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("point")
    axes.set_ylabel(search.objective)
    axes.legend(loc="best")
