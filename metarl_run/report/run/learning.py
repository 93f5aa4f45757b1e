"""Picture of a run's learning curve: the return on its validation tasks over meta-iterations and environment steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metarl_run.report.coarse import MOST_POINTS
from metarl_run.report.figure import COLOURS, FAINT, USUAL, PictureOptions, head, legend_below, save
from metarl_run.report.folder import Adaptation, read_adaptation, read_summary
from metarl_run.report.learning import (
    FEWEST,
    SIDES,
    TRAINING_AXES,
    Learning,
    learning_curve,
    read_learning,
    training_curve,
)
from metarl_run.report.names import title
from metarl_run.report.run.terminal import thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR_PAPERS = PictureOptions(endings=("png", "svg", "pdf"))
COLOUR = {"before": COLOURS[4], "after": COLOURS[0]}


def write(folder: Path, adaptation: Adaptation | None = None) -> list[Path]:
    """Draw learning_curve.png, .svg and .pdf of a run folder; return their paths: none below three validations.

    Args:
        folder: of the run.
        adaptation: the content of its adaptation.csv, if it was read already.
    """
    learning = read_learning(folder, adaptation or read_adaptation(folder))
    return draw(folder, read_summary(folder), learning, FOR_PAPERS)


def draw(folder: Path, summary: Mapping[str, Any], learning: Learning, options: PictureOptions = USUAL) -> list[Path]:
    """Draw the learning curve in a folder.

    The usual axis is that of meta-iterations, with environment steps below. The clock's is in report.html, or asked
    for: it would make other bytes at every run.

    Args:
        folder: to write to.
        summary: `algo`, `env`, `learner` and `seed` of a run, as in its summary.json.
        learning: the course of its meta-training.
        options: of the picture.
    """
    curve = learning_curve([learning])
    axis = options.axis or "iteration"
    x = curve[axis]
    if len(x) < FEWEST or None in x:
        return []
    trained = training_curve([learning], MOST_POINTS)
    num_tasks = len(learning.validated[curve["iteration"][-1]][0])
    steps = f"after {learning.steps} adaptation step{'s' * (learning.steps != 1)}"

    def on(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for side in SIDES:
            axes.plot(trained[axis], trained[side], color=COLOUR[side], linewidth=0.8, alpha=0.45, zorder=1.6)
        for side, label in zip(SIDES, ("before adaptation", steps), strict=True):
            style: dict[str, Any] = {"color": COLOUR[side], "marker": "o" if len(x) <= 20 else "", "markersize": 4.5}
            axes.plot(x, curve[side], label=label, linewidth=2, **style)
            if None not in curve[f"{side}_low"]:
                low, high = curve[f"{side}_low"], curve[f"{side}_high"]
                axes.fill_between(x, low, high, color=COLOUR[side], alpha=0.22, linewidth=0)
        axes.plot([], [], color=FAINT, linewidth=0.8, label="the same on training tasks")
        axes.margins(x=0.04)
        if options.axis:
            axes.set_xlabel(TRAINING_AXES[axis])
            axes.xaxis.set_major_formatter(lambda x, position: thousands(x))
        else:
            _name_iterations(axes, learning)
        axes.set_ylabel("episode return")
        about = f"{num_tasks} validation tasks, 95 % interval · {summary['learner']} · seed {summary['seed']}"
        head(axes, options.title or title(summary["algo"], summary["env"]), about)
        legend_below(figure, *axes.get_legend_handles_labels())

    return save(folder / "learning_curve", 6.0, 4.2, on, options)


def _name_iterations(axes: "Axes", learning: Learning) -> None:
    """Put environment steps below the meta-iterations at their ticks."""
    last = learning.iterations[-1]
    ticks = [x for x in axes.get_xticks() if 0 <= x <= last]
    known = (0.0, *learning.iterations), (0.0, *learning.env_steps)
    axes.set_xticks(ticks, [f"{x:.0f}\n{thousands(float(np.interp(x, *known)))}" for x in ticks])
    axes.set_xlabel("meta-iterations, and environment steps")
