"""Picture of one run: the adaptation curve on its held-out tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_run.maths.statistics import by_step, curve_of, outcomes_in
from metarl_run.report.coarse import MOST_POINTS, block_size, coarse_rows
from metarl_run.report.figure import (
    COLOURS,
    FAINT,
    USUAL,
    PictureOptions,
    draw_optimum,
    few_ticks,
    fractions,
    head,
    legend_below,
    save,
)
from metarl_run.report.folder import Adaptation, read_adaptation, read_summary
from metarl_run.report.names import title
from metarl_run.report.run.terminal import number, share_of_knowable
from metarl_run.report.tasks import held_out, tasks_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPREAD = (0.1, 0.9)
"""Quantiles over tasks that bound the faint band."""

HEIGHT, OUTCOME_HEIGHT = 3.9, 1.7
"""Inches of the panel of returns, and of each outcome's."""

REFERENCES = {
    "constant_action": ("best constant action", (0, (1, 2))),
    "myopic": ("known mean rewards, myopic", (0, (4, 2, 1, 2))),
}
"""Labels and line styles of what simple policies that know the task earn, see `metarl_run.exact.reference_returns`."""

FEWEST_VALUES = 10
"""Minimum number of distinct returns to draw quantiles of: those of a bandit's 0 and 1 would jump."""


def write(folder: Path, adaptation: Adaptation | None = None) -> list[Path]:
    """Draw adaptation_curve.png and .svg of a run folder; return their paths.

    Args:
        folder: of the run.
        adaptation: the content of its adaptation.csv, if it was read already.
    """
    return draw(folder, read_summary(folder), (adaptation or read_adaptation(folder)).tested)


def draw(
    folder: Path, summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], options: PictureOptions = USUAL
) -> list[Path]:
    """Draw the adaptation curve in a folder.

    Args:
        folder: to write to.
        summary: `algo`, `env`, `learner`, `seed` and the curve `meta_test` of a run, as in its summary.json.
        rows: of its meta-test.
        options: of the picture.
    """
    curve = summary["meta_test"]
    averaged = block_size(len(curve["mean"]), MOST_POINTS)
    if averaged > 1:
        rows = coarse_rows(rows, MOST_POINTS)
        curve = curve_of(rows)
    x, iqm = curve["episodes_seen"], curve["iqm"]
    steps = by_step(rows)
    returns = [[row["episode_return"] for row in steps[k]] for k in curve["adaptation_step"]]
    spread = np.array([np.quantile(of_tasks, SPREAD) for of_tasks in returns])
    num_tasks = len({row["task"] for row in rows})
    tasks = tasks_text(held_out(summary) or {"number": num_tasks, "distinct": num_tasks, "new": None})
    few, sure = len(x) <= 20, None not in curve["low"]
    varied = len({row["episode_return"] for row in rows}) >= min(FEWEST_VALUES, len(rows))
    outcomes = outcomes_in(curve)
    heights = [HEIGHT, *(OUTCOME_HEIGHT for _ in outcomes)]

    def with_interval(axes: "Axes", name: str, low: str, high: str) -> Any:
        """A line of means, with bars if there are few."""
        if not few:
            return axes.plot(x, curve[name], color=COLOURS[0], linewidth=2)[0]
        # Rounding can put the mean of equal numbers slightly outside its interval.
        ends = (np.subtract(curve[name], curve[low]), np.subtract(curve[high], curve[name])) if sure else None
        bars = None if ends is None else np.clip(ends, 0.0, None)
        mark: dict[str, Any] = {"marker": "o", "markersize": 4.5}
        return axes.errorbar(x, curve[name], bars, color=COLOURS[0], linewidth=2, capsize=3, **mark)

    def on(figure: "Figure") -> None:
        panels = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        axes = figure.add_subplot(panels[0])
        blue = COLOURS[0]
        dashes = "o--" if len(x) == 1 else "--"
        if varied:
            (middle,) = axes.plot(x, iqm, dashes, color="#444444", linewidth=1.1, markersize=3, zorder=3)
        line = with_interval(axes, "mean", "low", "high")
        entries: dict[str, Any] = {"mean, 95 % interval" if sure else "one task: no interval": line}
        if "expected" in curve:
            marks: dict[str, Any] = {"marker": "D", "markersize": 3.5, "markerfacecolor": "white"} if few else {}
            dots: dict[str, Any] = {"color": COLOURS[1], "linewidth": 1.2, "linestyle": (0, (1, 1))}
            (entries["mean, exact"],) = axes.plot(x, curve["expected"], zorder=4, **dots, **marks)
        if varied:
            entries["interquartile mean"] = middle
        if "optimum" in curve:
            draw_optimum(axes, curve["optimum"][0], f"optimum\n{number(curve['optimum'][0])}")
        if len(x) > 1 and sure:
            axes.fill_between(x, curve["low"], curve["high"], color=blue, alpha=0.28, linewidth=0)
            if varied:
                faint = axes.fill_between(x, *spread.T, color=blue, alpha=0.09, linewidth=0)
                entries["tasks, 10th to 90th percentile"] = faint
        for name, (label, line_style) in REFERENCES.items():
            (height,) = summary.get("memory", {}).get(name, [None])  # older runs have none
            if height is not None:
                entries[f"{label}: {number(height)}"] = axes.axhline(
                    height, color=FAINT, linewidth=1.0, linestyle=line_style, zorder=1.4
                )
        if (best := summary.get("memory", {}).get("bayes_optimal")) and averaged == 1:
            share = share_of_knowable(summary)
            label = "Bayes-optimal" if share is None else f"Bayes-optimal, {100 * share:.1f} % reached"
            (entries[label],) = axes.plot(x, best, color=COLOURS[2], linewidth=1.1, zorder=2.5)
        few_ticks(axes, x)
        axes.margins(x=0.04)
        axes.set_ylabel("episode return" if averaged == 1 else f"episode return, mean of {averaged} episodes")
        about = f"{tasks} · {summary['learner']} · seed {summary['seed']}"
        head(axes, options.title or title(summary["algo"], summary["env"]), about)
        legend_below(figure, list(entries.values()), list(entries))
        for panel, outcome in enumerate(outcomes, start=1):
            axes = figure.add_subplot(panels[panel], sharex=axes)
            with_interval(axes, outcome, f"{outcome}_low", f"{outcome}_high")
            if len(x) > 1 and sure:
                low, high = curve[f"{outcome}_low"], curve[f"{outcome}_high"]
                axes.fill_between(x, low, high, color=blue, alpha=0.28, linewidth=0)
            fractions(axes, curve[outcome])
            axes.set_ylabel(outcome)
        axes.set_xlabel("episodes seen in the task")

    return save(folder / "adaptation_curve", 6.0, sum(heights), on, options)
