"""The picture of what a run learned besides parameters: numbers of its learner over meta-iterations."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metarl_run.report.figure import FAINT, look, save
from metarl_run.report.folder import read_summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "meta_train/learned/"
"""Of the columns of metrics.csv that are drawn: what follows is `quantity`, `quantity_k` of adaptation step k, and
either of them with `/parameter`, where every parameter has one."""

NAME = re.compile(r"(?P<quantity>.+?)(?:_(?P<step>\d+))?(?:/(?P<parameter>.+))?")
COLUMNS = 3
"""Panels side by side, at most."""


def read_learned(folder: Path) -> dict[str, list[float]]:
    """The learned numbers in metrics.csv by name, and `iteration`; nothing if there are none."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith(PREFIX)] if rows else []
    learned = {name.removeprefix(PREFIX): [float(row[name]) for row in rows] for name in names}
    return {"iteration": [float(row["iteration"]) for row in rows], **learned} if learned else {}


def panels(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Names by quantity and, within it, by adaptation step; "" is the step of those that have none."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        match = NAME.fullmatch(name)
        assert match is not None  # any text is a quantity
        found.setdefault(match["quantity"], {}).setdefault(match["step"] or "", []).append(name)
    return found


def spans_decades(values: Sequence[float]) -> bool:
    """Only a logarithmic axis shows all of them."""
    return min(values) > 0 and max(values) > 10 * min(values)


def write(folder: Path) -> list[Path]:
    """Draw learned.png and .svg from metrics.csv and summary.json of a run folder; their paths, if it learned any."""
    learned = read_learned(folder)
    if not learned:
        return []
    summary, x = read_summary(folder), learned.pop("iteration")
    quantities = panels(list(learned))
    columns = min(COLUMNS, len(quantities))
    rows = -(-len(quantities) // columns)

    def draw(figure: "Figure") -> None:
        figure.suptitle(f"{summary['algo']} on {summary['env']}", x=0.01, ha="left", fontweight="bold", fontsize=11)
        for place, (quantity, steps) in enumerate(quantities.items()):
            axes = figure.add_subplot(rows, columns, place + 1)
            if spans_decades([value for names in steps.values() for name in names for value in learned[name]]):
                axes.set_yscale("log")
            for index, (step, names) in enumerate(steps.items()):
                width = 1.8 if len(names) == 1 else 0.8
                for name in names:
                    (line,) = axes.plot(x, learned[name], linewidth=width, **look(index))
                line.set_label(f"step {step}" if step else quantity)
            axes.set_title(quantity.replace("_", " "), loc="left", fontsize=9.5)
            axes.set_xlabel("meta-iteration", fontsize=8.5, color=FAINT)
            if len(steps) > 1:
                axes.legend(loc="best", ncols=2 if len(steps) > 4 else 1, fontsize=7.5)

    return save(folder / "learned", 2.9 * columns + 0.3, 2.4 * rows + 0.4, draw)
