"""Pictures of a comparison: a panel for each env and each part of a listed sweep, with names at the ends of lines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_run.report.coarse import MOST_POINTS, coarse_curve
from metarl_run.report.figure import (
    DASHES,
    FAINT,
    OWN_COLOURS,
    USUAL,
    Label,
    PictureOptions,
    few_ticks,
    fractions,
    look,
    name_ends,
    save,
    share_heights,
)
from metarl_run.report.names import display_name
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

WIDTH, HEIGHT = 5.4, 3.7
"""Inches of a panel with its names."""

BANDS = ((3, 0.18), (6, 0.1))
"""Opacity of bands by the number of lines that it suits; bands of more lines are their thin edges."""


def draw(name: Path, groups: Sequence[Group], options: PictureOptions = USUAL) -> list[Path]:
    """Draw one line per method, alike in all panels; groups without a panel are grey in every panel of their env."""
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
        alike: dict[tuple[str, str | None], list[tuple[Axes, list[Label]]]] = {}
        for i, (env, panel, outcome, members) in enumerate(shown):
            axes = figure.add_subplot(lines, columns, i + 1)
            axes.set_title(title_of(env, panel, drawn), loc="left", fontweight="bold")
            labels = draw_panel(axes, members, looks, panel, outcome)
            alike.setdefault((env, outcome), []).append((axes, labels))
        for panels_of_env in alike.values():
            share_heights([axes for axes, _ in panels_of_env])
            for axes, labels in panels_of_env:
                name_ends(axes, labels)
        if options.title:
            figure.suptitle(options.title, x=0.01, ha="left", fontweight="bold")
        figure.supxlabel(legend_of(drawn), x=0.01, ha="left", fontsize="small", color=FAINT)

    return save(name, WIDTH * columns, HEIGHT * lines + 0.2, on, options)


def title_of(env: str, panel: str | None, groups: Sequence[Group]) -> str:
    """`CartPole family: by memory`, and for a single method `MAML on CartPole family`."""
    name = display_name("env", env)
    if panel not in (None, env):
        return f"{name}: {panel}"
    methods = {group.name for group in groups}
    return f"{methods.pop()} on {name}" if len(methods) == 1 else name


def legend_of(groups: Sequence[Group]) -> str:
    """Meaning of what is drawn, in one line."""
    parts = ["line: mean"]
    if any(group.curve and None not in group.curve["low"] for group in groups):
        parts.append("band: 95 % interval over seeds and tasks")
    if any(has_markers(group.curve or {}) for group in groups):
        parts.append("marker: one adaptation step")
    if any(group.panel is not None for group in groups) and any(group.panel is None for group in groups):
        parts.append("grey: reference lines")
    return " · ".join(parts)


def has_markers(curve: Mapping[str, Sequence[Any]]) -> bool:
    return len(curve["mean"]) <= 20


def looks_of(drawn: Sequence[Group]) -> dict[str, Mapping[str, Any]]:
    """Colour and dash of each label, the same in every panel.

    Within a panel, colours vary before dashes. Grey lines, of groups without a panel beside others, vary in their dash.
    """
    looks: dict[str, Mapping[str, Any]] = {}
    listed = any(group.panel is not None for group in drawn)
    own = sorted({(group.algo, group.label) for group in drawn if group.algo in OWN_COLOURS})
    for i, (algo, label) in enumerate(own):
        looks[label] = {"color": OWN_COLOURS[algo], "linestyle": DASHES[i % len(DASHES)]}
    for panel in sorted({group.panel or "" for group in drawn}):
        labels = sorted({group.label for group in drawn if (group.panel or "") == panel} - looks.keys())
        for i, label in enumerate(labels):
            grey = {"color": FAINT, "linestyle": GREY_DASHES[i % len(GREY_DASHES)]}
            looks[label] = grey if listed and not panel else look(i)
    return looks


GREY_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (9, 2)))


def draw_panel(
    axes: "Axes",
    members: Sequence[Group],
    looks: Mapping[str, Mapping[str, Any]],
    panel: str | None,
    outcome: str | None = None,
) -> list[Label]:
    """Draw the curves of one env, or of one part of a listed sweep on it: returns or another outcome.

    Returns:
        Names of the lines, to be put at their ends.
    """
    axes.set_xlabel("episodes seen in the task")
    axes.set_ylabel(outcome or "episode return")
    name, lower, upper = ("mean", "low", "high") if outcome is None else (outcome, f"{outcome}_low", f"{outcome}_high")
    axes.margins(x=0.04)
    curves = [coarse_curve(group.curve or {}, MOST_POINTS) for group in members]
    labels = []
    for group, curve in zip(members, curves, strict=True):
        x, mean, style = curve["episodes_seen"], curve[name], looks[group.label]
        apart = style["color"] == FAINT
        if None not in curve["low"]:
            draw_band(axes, x, curve[lower], curve[upper], style["color"], len(members))
        seeds = "" if not group.failed_seeds else f" ({group.finished} seeds)"
        axes.plot(
            x,
            mean,
            label=group.name + seeds,
            marker="o" if has_markers(curve) and not apart else "",
            markersize=3.5,
            linewidth=1.1 if apart else 1.8,
            **style,
        )
        labels.append(Label(group.name + seeds, x[-1], mean[-1], style["color"]))
    if outcome is None:
        labels += draw_optima(axes, members, looks)
    else:
        fractions(axes, [value for curve in curves for value in curve[name]])
    longest = max(curves, key=lambda curve: curve["episodes_seen"][-1])
    last = longest["episodes_seen"][-1]
    if panel is not None and last >= MANY_EPISODES:
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        axes.autoscale_view(scaley=False)  # the line of an optimum has fixed the sides of the linear axis
        ticks = [tick for tick in ladder(int(last)) if tick == int(last) or CROWDED * tick < last]
        axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
        axes.minorticks_off()
    else:
        few_ticks(axes, longest["episodes_seen"])
    return labels


def draw_band(axes: "Axes", x: Any, low: Any, high: Any, colour: str, lines: int) -> None:
    """Fill an interval; among many lines, draw its edges instead."""
    opacity = next((opacity for most, opacity in BANDS if lines <= most), None)
    if opacity is not None:
        axes.fill_between(x, low, high, color=colour, alpha=opacity, linewidth=0)
        return
    axes.fill_between(x, low, high, color=colour, alpha=0.04, linewidth=0)
    for edge in (low, high):
        axes.plot(x, edge, color=colour, alpha=0.4, linewidth=0.5)


def draw_optima(axes: "Axes", members: Sequence[Group], looks: Mapping[str, Mapping[str, Any]]) -> list[Label]:
    """Draw one grey line if all groups of the panel have the same optimum, else one in each group's colour."""
    lines = {group.label: group.optimum for group in members if group.optimum is not None}
    shown = {number(optimum) for optimum in lines.values()}
    for label, optimum in [*lines.items()][: 1 if len(shown) == 1 else None]:
        colour = FAINT if len(shown) == 1 else looks[label]["color"]
        axes.axhline(optimum, color=colour, linewidth=1.1, linestyle=(0, (6, 3)), zorder=1.5)
    if len(shown) == 1:
        return [Label(f"optimum {shown.pop()}", None, next(iter(lines.values())), FAINT)]
    return [Label("optima", None, max(lines.values()), FAINT)] if lines else []
