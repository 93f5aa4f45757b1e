"""Learning curves of a comparison: returns on validation tasks over environment steps of meta-training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl_run.report.figure import FAINT, USUAL, Label, PictureOptions, name_ends, save, share_heights
from metarl_run.report.learning import FEWEST, SIDES, TRAINING_AXES, learning_curve
from metarl_run.report.names import display_name
from metarl_run.report.run.terminal import thousands
from metarl_run.report.sweep.groups import Group, in_same_tasks
from metarl_run.report.sweep.panels import HEIGHT, WIDTH, draw_band, looks_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_of(group: Group, *, unfinished: bool = False) -> Mapping[str, Sequence[Any]]:
    """The learning curve over the finished seeds of a group; without points if it was not validated.

    Args:
        group: of the comparison.
        unfinished: if none is finished, take them as far as they came.
    """
    finished = [job for job in group.jobs if job.problem is None or (unfinished and group.num_finished == 0)]
    # Validation tasks follow from the seed as test tasks do, so they are the same where those are.
    return learning_curve([job.learning for job in finished], same_tasks=in_same_tasks(finished))


def draw(
    name: Path,
    groups: Sequence[Group],
    curves: Sequence[Mapping[str, Sequence[Any]]],
    options: PictureOptions = USUAL,
) -> list[Path]:
    """Draw a panel before and a panel after adaptation for each env; nothing with fewer than three validations.

    Args:
        name: path without file extension.
        groups: of the comparison.
        curves: their learning curves.
        options: of the picture.
    """
    axis = options.axis or "env_steps"
    drawn = [
        (g, curve)
        for g, curve in zip(groups, curves, strict=True)
        if len(curve["iteration"]) >= FEWEST and None not in curve[axis]
    ]
    if not drawn:
        return []
    looks = looks_of([group for group, _ in drawn])
    envs = sorted({group.env for group, _ in drawn})

    def on(figure: "Figure") -> None:
        for row, env in enumerate(envs):
            members = [(group, curve) for group, curve in drawn if group.env == env]
            panels = []
            for column, side in enumerate(SIDES):
                axes = figure.add_subplot(len(envs), 2, 2 * row + column + 1)
                axes.set_title(f"{display_name('env', env)}: {side} adaptation", loc="left", fontweight="bold")
                axes.set_xlabel(TRAINING_AXES[axis])
                axes.set_ylabel("episode return")
                axes.xaxis.set_major_formatter(lambda x, position: thousands(x))
                axes.margins(x=0.04)
                labels = []
                for group, curve in members:
                    x, y, style = curve[axis], curve[side], looks[group.label]
                    if None not in curve[f"{side}_low"]:
                        low, high = curve[f"{side}_low"], curve[f"{side}_high"]
                        draw_band(axes, x, low, high, style["color"], len(members))
                    marker = "o" if len(x) <= 20 else ""
                    axes.plot(x, y, label=group.name, marker=marker, markersize=3.5, linewidth=1.8, **style)
                    labels.append(Label(group.name, x[-1], y[-1], style["color"]))
                panels.append((axes, labels))
            share_heights([axes for axes, _ in panels])
            for axes, labels in panels:
                name_ends(axes, labels)
        if options.title:
            figure.suptitle(options.title, x=0.01, ha="left", fontweight="bold")
        note = "mean return on validation tasks · band: 95 % interval over seeds and tasks · marker: one validation"
        figure.supxlabel(note, x=0.01, ha="left", fontsize="small", color=FAINT)

    return save(name, 2 * WIDTH, HEIGHT * len(envs) + 0.2, on, options)
