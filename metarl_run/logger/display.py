"""Display of a run in progress: a few lines of text, rendered anew for each refresh.

`metarl_run.logger.console` decides when and where it is shown.
"""

import math
import time
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from metarl_run.logger.base import RunInfo
from metarl_run.report.run.terminal import duration, number, thousands

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"
LABEL = 20
"""Width of the labels on the left."""

MAX_WIDTH = 100

SHOWN = {
    "return before": ("meta_train/return_before", "episode"),
    "return after": ("meta_train/return_after", "episode"),
    "lifetime return": ("meta_train/lifetime_return", "lifetime"),
}
"""Sparklines: the column of a meta-update's row, if present, and the scale that it shares with others."""


def sparkline(history: Sequence[float], low: float, high: float, columns: int, bars: str) -> str:
    """`history` compressed into at most `columns` characters, each the mean of its part, on the scale [low, high]."""
    count = min(columns, len(history))
    edges = [len(history) * i // count for i in range(count + 1)] if count else []
    shares = [history[a:b] for a, b in pairwise(edges)]
    top = len(bars) - 1
    span = (high - low) or 1.0
    return "".join(bars[min(top, max(0, round(top * (sum(s) / len(s) - low) / span)))] for s in shares)


class History:
    """Values so far in bounded memory: all of them while they are few, later means of equally many consecutive ones."""

    KEPT = 600
    """Means kept at most; a sparkline has a tenth of it in characters."""

    def __init__(self) -> None:
        self.means = array("d")
        self.share = 1  # values per mean
        self.total, self.count = 0.0, 0  # of the values of which there is no mean yet
        self.last: float | None = None

    def append(self, value: float) -> None:
        self.last = value
        self.total, self.count = self.total + value, self.count + 1
        if self.count == self.share:
            self.means.append(self.total / self.share)
            self.total, self.count = 0.0, 0
        if len(self.means) == self.KEPT:
            pairs = zip(self.means[::2], self.means[1::2], strict=True)
            self.means = array("d", [(a + b) / 2 for a, b in pairs])
            self.share *= 2


def few(values: Sequence[float]) -> list[float]:
    """The first three values and the last."""
    return list(values) if len(values) <= 4 else [*values[:3], values[-1]]


def arrowed(curve: Mapping[str, Sequence[float]], arrow: str) -> str:
    """A curve in one line: `31.0 → 194 → 197`."""
    return f" {arrow} ".join(map(number, few(curve["mean"])))


class Progress:
    """State of a run so far, and its rendering.

    Args:
        run: facts about the run.
    """

    def __init__(self, run: RunInfo) -> None:
        self.run = run
        self.iteration = run.first_iteration
        self.started = time.monotonic()
        self.history = {name: History() for name in SHOWN}
        self.low = {scale: math.inf for _, scale in SHOWN.values()}
        self.high = {scale: -math.inf for _, scale in SHOWN.values()}
        self.latest: Mapping[str, float] = {}
        self.validation: tuple[int, Mapping[str, Sequence[float]]] | None = None

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        """Record one meta-update."""
        self.iteration, self.latest = iteration, row
        for name, (column, scale) in SHOWN.items():
            if column in row:
                value = row[column]
                self.history[name].append(value)
                self.low[scale], self.high[scale] = min(self.low[scale], value), max(self.high[scale], value)

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        """Record one evaluation."""
        self.validation = (rows[0]["iteration"] if rows else self.iteration, curve)

    @property
    def seconds_left(self) -> float | None:
        """At the average pace since the run was opened; None before the first meta-update."""
        done = self.iteration - self.run.first_iteration
        elapsed = time.monotonic() - self.started
        return elapsed / done * (self.run.meta_iterations - self.iteration) if done > 0 else None

    @property
    def pace(self) -> str:
        """Environment steps per second of the last meta-update."""
        speed = self.latest.get("time/env_steps_per_second")
        return "" if speed is None else f"{thousands(speed)} steps/s"

    @property
    def state(self) -> str:
        """Current phase of the run, and the time left."""
        if self.iteration >= self.run.meta_iterations:
            return "meta-test on held-out tasks"
        left = self.seconds_left
        return "starting" if left is None else f"{duration(left)} left"

    def line(self, arrow: str, separator: str) -> str:
        """The last meta-update in one line."""
        last = {name: number(history.last) for name, history in self.history.items() if history.last is not None}
        parts = [f"iteration {self.iteration}/{self.run.meta_iterations}"]
        if returns := [last[name] for name in ("return before", "return after") if name in last]:
            parts.append(f"return {f' {arrow} '.join(returns)}")
        parts += [f"{name} {last[name]}" for name in ("lifetime return",) if name in last]
        parts += [part for part in (self.pace, self.state) if part]
        return separator.join(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, MAX_WIDTH) - 1
        plain = options.ascii_only
        dot, arrow, bars = (" - ", "->", ASCII_BARS) if plain else (" · ", "→", BARS)
        text = Text(no_wrap=True, overflow="crop", end="")
        run = self.run
        title = dot.join((f"{run.algo} on {run.env}", run.learner, f"seed {run.seed}"))
        text.append(f"\n{title[:width]}\n", "bold")

        if run.meta_iterations > 0:
            count = f" {self.iteration}/{run.meta_iterations}"
            columns = max(10, width - len(count) - len(self.state) - 2)
            full = columns * self.iteration // run.meta_iterations
            text.append(("=" if plain else "━") * full, "cyan")
            text.append(("-" if plain else "─") * (columns - full), "bright_black")
            text.append(count)
        text.append(f"  {self.state}\n", "dim")

        for name, (_, scale) in SHOWN.items():
            history = self.history[name]
            if history.last is not None:
                text.append(f"\n{name:<{LABEL}}", "dim")
                text.append(f"{number(history.last):>6}  ", "bold")
                room = max(0, min(60, width - LABEL - 8))
                line = sparkline(history.means, self.low[scale], self.high[scale], room, bars)
                text.append(line, "dim" if name == "return before" else "cyan")
        if self.pace:
            total = self.latest.get("env_steps")
            text.append(f"\n{'environment':<{LABEL}}", "dim")
            text.append(self.pace if total is None else f"{self.pace}{dot}{thousands(total)} steps so far")
        if self.validation:
            iteration, curve = self.validation
            text.append(f"\n{f'held-out, at {iteration}':<{LABEL}}", "dim")
            text.append(arrowed(curve, arrow))
            text.append(f"  after {steps_named(curve)}", "dim")
        yield text


def steps_named(curve: Mapping[str, Sequence[float]]) -> str:
    """Names of the adaptation steps that `arrowed` shows."""
    shown = [f"{step:g}" for step in few(curve["adaptation_step"])]
    if len(shown) == 1:
        return f"{shown[0]} steps"
    return f"{', '.join(shown[:-1])} and {shown[-1]} steps"
