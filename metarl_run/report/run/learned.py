"""Picture of a run's learned hyperparameters over meta-iterations."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metarl_run.files import plain_only
from metarl_run.report.figure import FAINT, Label, look, name_ends, save
from metarl_run.report.folder import read_summary
from metarl_run.report.names import title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFIX = "meta_train/learned/"
"""Prefix of the columns of metrics.csv that are drawn.

The rest is `name`, `name_k` for adaptation step k, or either of them with `/parameter`, where every parameter of the
network has a value of its own.
"""

NAME = re.compile(r"(?P<name>.+?)(?:_(?P<step>\d+))?(?:/(?P<parameter>.+))?")
COLUMNS = 3
"""Maximum number of panels side by side."""


def read_learned(folder: Path) -> dict[str, list[float]]:
    """Learned hyperparameters in metrics.csv by column, and `iteration`; empty if there are none."""
    with open(folder / "metrics.csv", encoding="utf-8", newline="", opener=plain_only) as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith(PREFIX)] if rows else []
    learned = {name.removeprefix(PREFIX): [float(row[name]) for row in rows] for name in names}
    return {"iteration": [float(row["iteration"]) for row in rows], **learned} if learned else {}


def panels(columns: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """Columns by hyperparameter and adaptation step; the step is "" for hyperparameters without steps."""
    found: dict[str, dict[str, list[str]]] = {}
    for column in columns:
        match = NAME.fullmatch(column)
        assert match is not None  # any text is a name
        found.setdefault(match["name"], {}).setdefault(match["step"] or "", []).append(column)
    return found


def spans_decades(values: Sequence[float]) -> bool:
    """Check that only a logarithmic axis can show all values."""
    return min(values) > 0 and max(values) > 10 * min(values)


def write(folder: Path) -> list[Path]:
    """Draw learned.png and .svg from metrics.csv and summary.json of a run folder; return their paths, if any."""
    learned = read_learned(folder)
    if not learned:
        return []
    summary, x = read_summary(folder), learned.pop("iteration")
    hyperparameters = panels(list(learned))
    columns = min(COLUMNS, len(hyperparameters))
    rows = -(-len(hyperparameters) // columns)

    def draw(figure: "Figure") -> None:
        figure.suptitle(title(summary["algo"], summary["env"]), x=0.01, ha="left", fontweight="bold", fontsize=11)
        for index, (hyperparameter, steps) in enumerate(hyperparameters.items()):
            axes = figure.add_subplot(rows, columns, index + 1)
            if spans_decades([value for names in steps.values() for name in names for value in learned[name]]):
                axes.set_yscale("log")
            labels = []
            for line_index, (step, names) in enumerate(steps.items()):
                width = 1.8 if len(names) == 1 else 0.8
                for name in names:
                    axes.plot(x, learned[name], linewidth=width, **look(line_index))
                end = max(learned[name][-1] for name in names)
                labels.append(Label(f"step {step}" if step else hyperparameter, x[-1], end, look(line_index)["color"]))
            axes.set_title(hyperparameter.replace("_", " "), loc="left", fontsize=9.5)
            axes.set_xlabel("meta-iteration", fontsize=8.5, color=FAINT)
            if len(steps) > 1:
                name_ends(axes, labels)

    return save(folder / "learned", 3.2 * columns + 0.3, 2.4 * rows + 0.4, draw)
