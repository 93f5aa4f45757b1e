"""Terminal output of a complete run: the adaptation curve as a plot and as a table, and the files of the run.

The output fits the given width and falls back to ASCII where the terminal supports nothing else.
"""

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from metarl_run.maths.statistics import outcomes_in
from metarl_run.report.coarse import coarse_curve
from metarl_run.report.folder import evenly, read_adaptation, short
from metarl_run.report.learning import learning_curve, read_learning
from metarl_run.report.published import precise, published_text, verdict
from metarl_run.report.tasks import benchmark_text, family_version, held_out, remarkable, tasks_hash, tasks_text

FILES = {
    "report.html": "all of it for a browser",
    "adaptation_curve.png": "the picture",
    "adaptation_curve.svg": "the same, scalable",
    "learning_curve.png": "validation in the course of meta-training",
    "learned.png": "learned hyperparameters",
    "behaviour.gif": "a held-out task before adaptation and after each step",
    "behaviour.mp4": "a held-out task before adaptation and after each step",
    "adaptation.csv": "one row per task and adaptation step",
    "metrics.csv": "one row per meta-iteration",
    "summary.json": "the numbers above",
    "config.yaml": "the whole configuration",
    "checkpoints": "meta-parameters, to continue or to start from",
    "train.log": "the log",
}
"""Files of a run folder, in order of interest."""

ASCII = str.maketrans("→±·●│─└┤…━×–", ">~,o|-++.=x-")
PLOT_ROWS = 10
LOW_ROWS = 5
MAX_WIDTH = 100
"""In characters; wider lines are hard to read."""


def number(x: float) -> str:
    """`x` with about three significant digits."""
    return f"{x:.0f}" if abs(x) >= 99.95 else f"{x:.1f}" if abs(x) >= 9.995 else f"{x:.2f}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, at most two of them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def thousands(x: float) -> str:
    """A large number in short form: 950, 412 k, 3.4 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if x >= 0.9995 * unit:
            return f"{x / unit:.3g}{name}" if x < 99.95 * unit else f"{x / unit:.0f}{name}"
    return f"{x:.0f}"


def headline(summary: Mapping[str, Any]) -> str:
    """The result in one sentence: returns before adaptation, after one step, and at the end."""
    curve = summary["meta_test"]
    mean, steps, episodes = curve["mean"], curve["adaptation_step"], curve["episodes_seen"]
    name = f"{summary['algo']} on {summary['env']}"
    ends = {outcome: list(dict.fromkeys((curve[outcome][0], curve[outcome][-1]))) for outcome in outcomes_in(curve)}
    outcomes = "".join(f" · {outcome} {' → '.join(map(number, values))}" for outcome, values in ends.items())
    if len(mean) == 1:
        return f"{name}: return {number(mean[0])} without adaptation{outcomes}"
    seen = "1 episode" if episodes[1] == 1 else f"{episodes[1]:g} episodes"
    sentence = f"{name}: {number(mean[0])} → {number(mean[1])} after one step ({seen})"
    last = "" if len(mean) == 2 else f", {number(mean[-1])} after {steps[-1]}"
    return f"{sentence}{last}{outcomes}"


@dataclass(frozen=True)
class CurvePlot:
    """An adaptation curve drawn with characters: the mean over episodes seen, its interval as whiskers.

    If there are too many points to distinguish, consecutive ones are averaged.

    Args:
        curve: as in `metarl_run.evaluation`.
        rows: height of the plot without its axis.
        across: part of the curve along the horizontal axis.
        label: of this axis.
    """

    curve: Mapping[str, Sequence[Any]]
    rows: int = PLOT_ROWS
    across: str = "episodes_seen"
    label: str = "episodes seen in the task"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        curve, rows = self.curve, self.rows
        width = min(options.max_width, MAX_WIDTH)
        if len(curve["mean"]) > width // 2:
            curve = coarse_curve(curve, width // 4)
        sure = None not in curve["low"]
        low: float = min(curve["low" if sure else "mean"])
        high: float = max(curve["high" if sure else "mean"])
        ticks = {row: number(high - (high - low) * row / (rows - 1)) for row in {0, rows // 2, rows - 1}}
        margin = max(map(len, ticks.values()))
        columns = max(10, width - margin - 6)
        first: float = curve[self.across][0]
        last: float = curve[self.across][-1]

        def column(x: float) -> float:
            return (x - first) / ((last - first) or 1) * (columns - 1)

        def height(y: float) -> float:
            return (high - y) / (high - low) * (rows - 1) if high > low else (rows - 1) / 2

        cells: dict[tuple[int, int], tuple[str, str]] = {}
        xs, ys = [column(x) for x in curve[self.across]], [height(y) for y in curve["mean"]]
        sparse = len(xs) <= columns // 4
        whiskers = list(zip(xs, map(height, curve["low"]), map(height, curve["high"]), strict=True)) if sure else []
        for x, bottom, top in whiskers:
            for row in range(round(top), round(bottom) + 1):
                cells[row, round(x)] = ("│", "cyan dim")
        for row, at, dots in braille(xs, ys, columns, rows):
            cells[row, at] = ("." if options.ascii_only else dots, "cyan")
        if sparse:
            for x, y in zip(xs, ys, strict=True):
                cells[round(y), round(x)] = ("●", "bold cyan")

        def line(text: Text) -> Text:
            text.no_wrap = True
            return in_ascii(text) if options.ascii_only else text

        for row in range(rows):
            text = Text(f"{ticks.get(row, ''):>{margin + 1}} ", "dim")
            text.append("┤" if row in ticks else "│", "dim")
            for at in range(columns):
                mark, style = cells.get((row, at), (" ", ""))
                text.append(mark, style)
            yield line(text)
        yield line(Text(" " * (margin + 2) + "└" + "─" * columns, "dim"))
        labels = [" "] * (columns + 6)
        for i in evenly(len(xs), max(2, columns // 12)):
            label = f"{curve[self.across][i]:.6g}"
            start = max(0, round(xs[i]) - len(label) // 2)
            if set(labels[max(0, start - 1) : start + len(label) + 1]) <= {" "}:
                labels[start : start + len(label)] = label
        yield line(Text(" " * (margin + 3) + "".join(labels).rstrip(), "dim"))
        yield line(Text(" " * (margin + 3) + f"{self.label:^{columns}}".rstrip(), "dim"))


def braille(xs: Sequence[float], ys: Sequence[float], columns: int, rows: int) -> Iterator[tuple[int, int, str]]:
    """The line through the points as braille characters: row, column, character.

    A character holds 2 × 4 dots; x and y are in characters.
    """
    bits = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
    cells: dict[tuple[int, int], int] = {}
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        steps = max(1, round(max(2 * abs(x1 - x0), 4 * abs(y1 - y0))))
        for i in range(steps + 1):
            x, y = x0 + (x1 - x0) * i / steps + 0.5, y0 + (y1 - y0) * i / steps + 0.5
            at = min(int(y), rows - 1), min(int(x), columns - 1)
            cells[at] = cells.get(at, 0) | bits[min(3, int(y % 1 * 4))][int(x % 1 * 2)]
    for (row, column), dots in cells.items():
        yield row, column, chr(0x2800 + dots)


def in_ascii(text: Text) -> Text:
    """The same text and styles in ASCII characters."""
    letters = "".join(unicodedata.normalize("NFKD", letter)[0] for letter in text.plain)  # the 2 of RL², the e of é
    plain = Text(letters.translate(ASCII), text.style, no_wrap=text.no_wrap, overflow=text.overflow)
    plain.spans = text.spans
    return plain


def ends(statistics: Mapping[str, Any], shown: Callable[[float], str], missing: str) -> str:
    """`110 to 130`, or `missing` without an interval."""
    low, high = statistics["low"], statistics["high"]
    return missing if low is None or high is None else f"{shown(low)} to {shown(high)}"


def curve_table(curve: Mapping[str, Sequence[Any]], width: int, missing: str = "–") -> Table:
    """The curve as a table of at most a dozen rows that fits `width`; `missing` marks absent intervals."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", border_style="dim", pad_edge=False, padding=(0, 1))
    step = "adaptation step" if width >= 70 else "step"
    exact = ["exact"] if "expected" in curve and width >= 80 else []
    outcomes = outcomes_in(curve)
    for title in (step, "episodes", "env steps", "mean", "95 % interval", "IQM", *exact, *outcomes):
        table.add_column(title, justify="right", no_wrap=True, overflow="crop")
    for i in evenly(len(curve["mean"]), 12):
        table.add_row(
            str(curve["adaptation_step"][i]),
            f"{curve['episodes_seen'][i]:g}",
            f"{curve['env_steps_seen'][i]:.0f}",
            Text(number(curve["mean"][i]), "bold"),
            ends({"low": curve["low"][i], "high": curve["high"][i]}, number, missing),
            number(curve["iqm"][i]),
            *(number(curve["expected"][i]) for _ in exact),
            *(number(curve[name][i]) for name in outcomes),
        )
    return table


def learning_plot(folder: Path) -> CurvePlot | None:
    """The learning curve after adaptation, of a run that has a picture of it."""
    if not (folder / "learning_curve.png").exists():
        return None
    learning = read_learning(folder, read_adaptation(folder))
    curve = learning_curve([learning])
    shown = {"mean": "after", "low": "after_low", "high": "after_high", "iteration": "iteration"}
    steps = f"{learning.steps} step{'s' * (learning.steps != 1)}"
    about = f"meta-iterations (validation, after {steps})"
    return CurvePlot({name: curve[part] for name, part in shown.items()}, LOW_ROWS, "iteration", about)


def share_of_knowable(summary: Mapping[str, Any]) -> float | None:
    """Mean return of a lifetime over that of the best agent that is not told the task; None unless both are known."""
    best = sum(summary.get("memory", {}).get("bayes_optimal", []))
    lifetime = summary.get("lifetime_return")
    return lifetime["mean"] / best if lifetime and best > 0 else None


def on(told: Mapping[str, Sequence[float]], shuffled: str) -> float:
    """Dependence of actions on what was shuffled, see `metarl_run.maths.dependence`."""
    return max(told["action_share"][0] - told[f"action_share_{shuffled}_shuffled"][0], 0.0)


@dataclass(frozen=True)
class RunReport:
    """Everything printed at the end of a run.

    Args:
        summary: the content of summary.json.
        folder: the run folder.
    """

    summary: Mapping[str, Any]
    folder: Path

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        summary, curve = self.summary, self.summary["meta_test"]

        def line(*parts: str | tuple[str, str]) -> Text:
            text = Text.assemble(*parts, no_wrap=True, overflow="ignore")
            return in_ascii(text) if options.ascii_only else text

        yield Text()
        title = Text(headline(summary), "bold")
        yield in_ascii(title) if options.ascii_only else title
        yield Text()
        if len(curve["mean"]) > 1:
            yield CurvePlot(curve)
        yield curve_table(curve, options.max_width, "-" if options.ascii_only else "–")
        if learned := learning_plot(self.folder):
            yield learned
            yield Text()
        if None in curve["low"]:
            yield line(("interval         ", "dim"), "one task: no interval")
        counts = held_out(summary)
        if counts is not None and remarkable(counts):
            yield line(("tasks            ", "dim"), tasks_text(counts))
        if version := family_version(summary):
            yield line(
                ("family           ", "dim"), f"{summary['env']}, {benchmark_text(version, tasks_hash(summary))}"
            )
        if "optimum" in curve:
            yield line(("optimum          ", "dim"), number(curve["optimum"][0]), " expected of the best policies")
        lifetime = summary["lifetime_return"]
        if lifetime is not None:
            published = summary.get("published")
            shown = precise if published else number
            interval = f" ({ends(lifetime, shown, 'one task: no interval')})"
            judged = f", {verdict(lifetime, published)}" if published else ""
            yield line(("lifetime return  ", "dim"), shown(lifetime["mean"]), interval, judged)
            if published:
                yield line(("published        ", "dim"), published_text(published))
        if best := summary.get("memory", {}).get("bayes_optimal"):
            share = share_of_knowable(summary)
            reached = f", of which {share:.1%} is reached".replace("%", " %") if share is not None else ""
            expected = f" expected of the best agent in a lifetime{reached}"
            yield line(("Bayes-optimal    ", "dim"), precise(sum(best)), expected)
        if bounds := summary.get("memory", {}).get("bayes_optimal_bounds"):
            low, high = map(precise, bounds)
            mean = lifetime["mean"] if lifetime else None
            shares = (
                "" if mean is None or bounds[0] <= 0 else f", {mean / bounds[1]:.1%} to {mean / bounds[0]:.1%} reached"
            )
            expected = f" proven bounds of the best agent in a lifetime{shares.replace('%', ' %')}"
            yield line(("Bayes-optimal    ", "dim"), f"{low} to {high}", expected)
        if told := summary.get("memory"):
            state, memory = on(told, "states"), on(told, "memory")
            yield line(("actions follow   ", "dim"), f"the state {state:.2f}, the memory {memory:.2f}; of 1 at most")
        yield line(
            ("wall time        ", "dim"),
            duration(summary["wall_seconds"]),
            f" · {thousands(summary['env_steps'])} env steps",
            f" · {thousands(summary['env_steps_per_second'])} steps/s",
        )
        yield line(("files            ", "dim"), short(self.folder) + "/")
        for name, meaning in FILES.items():
            if (self.folder / name).exists():
                yield line(f"  {name:<22}", (meaning, "dim"))
