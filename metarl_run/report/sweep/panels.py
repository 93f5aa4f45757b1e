"""Picture of a comparison: adaptation curves in a panel for each env and each part of a listed sweep."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_run.report.coarse import MOST_POINTS, coarse_curve
from metarl_run.report.figure import FAINT, draw_optimum, few_ticks, fractions, look, save
from metarl_run.report.run.terminal import number
from metarl_run.report.sweep.columns import ladder
from metarl_run.report.sweep.groups import Group, outcomes_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY_EPISODES = 20
"""Number of episodes from which the axis is logarithmic: agents with memory learn most in the first few."""


CROWDED = 1.3
"""Ratio to the last tick below which the numbers of two would overlap."""


def draw(name: Path, groups: Sequence[Group]) -> list[Path]:
    """Draw one line per algo, alike in all panels; groups without a panel are grey in every panel of their env."""
    drawn = [group for group in groups if group.curve]
    looks = looks_of(drawn)
    envs = sorted({group.env for group in drawn})
    names = list(dict.fromkeys(group.panel for group in drawn if group.panel is not None))
    found = {(group.env, group.panel) for group in drawn}
    panels: list[tuple[str, str | None]] = [(env, x) for env in envs for x in names if (env, x) in found]
    panels = panels or [(env, None) for env in envs]
    shown = [
        (env, panel, outcome, members)
        for env, panel in panels
        for outcome in (None, *outcomes_of(drawn))
        if (
            members := [
                g for g in drawn if g.env == env and g.panel in (panel, None) and outcome in (None, *g.outcomes)
            ]
        )
    ]
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)

    def on(figure: "Figure") -> None:
        for i, (env, panel, outcome, members) in enumerate(shown):
            axes = figure.add_subplot(lines, columns, i + 1)
            axes.set_title(env if panel in (None, env) else f"{env}: {panel}", loc="left", fontweight="bold")
            draw_panel(axes, members, looks, panel, outcome)

    return save(name, 0.5 + 4.6 * columns, 3.7 * lines, on)


def looks_of(drawn: Sequence[Group]) -> dict[str, Mapping[str, Any]]:
    """Line style of each label: within a panel, colours vary before dashes."""
    looks: dict[str, Mapping[str, Any]] = {}
    for panel in sorted({group.panel or "" for group in drawn}):
        labels = sorted({group.label for group in drawn if (group.panel or "") == panel})
        looks |= {label: look(i) for i, label in enumerate(labels)}
    return looks


def draw_panel(
    axes: "Axes",
    members: Sequence[Group],
    looks: Mapping[str, Mapping[str, Any]],
    panel: str | None,
    outcome: str | None = None,
) -> None:
    """Draw the curves of one env, or of one part of a listed sweep on it: returns or another outcome."""
    axes.set_xlabel("episodes seen in the task")
    axes.set_ylabel(outcome or "episode return")
    name, lower, upper = ("mean", "low", "high") if outcome is None else (outcome, f"{outcome}_low", f"{outcome}_high")
    axes.margins(x=0.04)
    curves = [coarse_curve(group.curve or {}, MOST_POINTS) for group in members]
    greys = iter(("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2))) * len(members))
    for group, curve in zip(members, curves, strict=True):
        x, mean = curve["episodes_seen"], curve[name]
        apart = group.panel is None and panel is not None
        style = {"color": FAINT, "linestyle": next(greys)} if apart else looks[group.label]
        seeds = "" if not group.failed_seeds else f" ({group.finished} seeds)"
        if None not in curve["low"]:
            axes.fill_between(x, curve[lower], curve[upper], color=style["color"], alpha=0.18, linewidth=0)
        marker = "o" if len(x) <= 20 and not apart else ""
        width = 1.1 if apart else 1.8
        axes.plot(x, mean, marker=marker, markersize=4, linewidth=width, label=group.label + seeds, **style)
    if outcome is None:
        draw_optima(axes, members, looks)
    else:
        fractions(axes, [value for curve in curves for value in curve[name]])
    longest = max(curves, key=lambda curve: curve["episodes_seen"][-1])
    last = longest["episodes_seen"][-1]
    if panel is not None and last >= MANY_EPISODES:
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        ticks = [tick for tick in ladder(int(last)) if tick == int(last) or CROWDED * tick < last]
        axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
        axes.minorticks_off()
    else:
        few_ticks(axes, longest["episodes_seen"])
    if panel is None:
        axes.legend(loc="best")
    else:  # with many lines, some pass behind the legend
        axes.legend(loc="best", fontsize=7.5, frameon=True, framealpha=0.8, edgecolor="none")


def draw_optima(axes: "Axes", members: Sequence[Group], looks: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw one grey line if all groups of the panel have the same optimum, else one in each group's colour."""
    lines = {group.label: group.optimum for group in members if group.optimum is not None}
    shown = {number(optimum) for optimum in lines.values()}
    if len(shown) == 1:
        draw_optimum(axes, next(iter(lines.values())), f"optimum\n{shown.pop()}")
        return
    for label, optimum in lines.items():
        # Labels this close would overlap; colours identify the lines.
        draw_optimum(axes, optimum, "optima" if optimum == max(lines.values()) else "", looks[label]["color"])
