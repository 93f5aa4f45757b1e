"""The picture of a run's learning curve."""

import shutil
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from metarl_run.report import compare
from metarl_run.report.figure import PictureOptions
from metarl_run.report.learning import TRAINING_AXES
from metarl_run.report.run import learning

Trained = Callable[..., Path]
Drawn = Callable[..., Figure]
VALIDATED = {2: ((1.0, 3.0), (5.0, 9.0)), 4: ((2.0, 2.0), (10.0, 20.0)), 6: ((0.0, 4.0), (30.0, 30.0))}


def test_both_sides_of_adaptation_are_drawn_over_iterations_and_steps(
    trained: Trained, tmp_path: Path, drawn: Drawn
) -> None:
    figure = drawn(learning, trained(tmp_path / "run", VALIDATED))
    (axes,) = figure.axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines["before adaptation"] == ([2, 4, 6], [2, 2, 2])
    assert lines["after 1 adaptation step"] == ([2, 4, 6], [7, 15, 30])
    assert axes.get_title(loc="left") == "MAML on CartPole family"
    assert "2 validation tasks, 95 % interval · reinforce · seed 0" in [text.get_text() for text in axes.texts]
    assert "4\n400" in [label.get_text() for label in axes.get_xticklabels()]
    (legend,) = figure.legends
    assert legend.get_window_extent().y1 < axes.bbox.y0  # below the axes, where there are no data


def test_two_validations_are_no_curve(trained: Trained, tmp_path: Path) -> None:
    assert learning.write(trained(tmp_path / "run", {2: VALIDATED[2], 4: VALIDATED[4]})) == []


def test_the_clock_does_not_change_the_picture(trained: Trained, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", VALIDATED)
    first = [path.read_bytes() for path in learning.write(folder)]
    (folder / "timing.csv").write_text("iteration,time/seconds\n2,5\n")
    shutil.move(folder, tmp_path / "other")
    assert [path.read_bytes() for path in learning.write(tmp_path / "other")] == first
    assert [path.suffix for path in learning.write(tmp_path / "other")] == [".png", ".svg", ".pdf"]
    assert b">after 1 adaptation step</text>" in first[1]  # text as text


def test_the_axis_is_as_asked(trained: Trained, tmp_path: Path) -> None:
    """And no picture over a clock that was not read."""
    folder = trained(tmp_path / "run", VALIDATED)
    names = {}
    for axis in TRAINING_AXES:
        report = compare.write([folder], tmp_path / axis, PictureOptions(axis=axis, endings=("svg",)))
        names[axis] = [path.read_text() for path in report.files if path.stem == "learning_curve"]
    assert all(f">{TRAINING_AXES[axis]}</text>" in picture for axis, drawn in names.items() for picture in drawn)
    assert {axis: len(drawn) for axis, drawn in names.items()} == {"iteration": 1, "env_steps": 1, "seconds": 1}
    (folder / "timing.csv").unlink()
    report = compare.write([folder], tmp_path / "none", PictureOptions(axis="seconds", endings=("svg",)))
    assert not [path for path in report.files if path.stem == "learning_curve"]


def test_formats_and_size_are_as_asked(trained: Trained, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", VALIDATED)
    options = PictureOptions(size=(4.0, 3.0), font_size=7.0, title="Figure 1", endings=("svg", "pdf"))
    report = compare.write([folder], tmp_path / "paper", options)
    pdf, svg = [path for path in report.files if path.stem == "learning_curve"]
    assert (svg.name, pdf.name) == ("learning_curve.svg", "learning_curve.pdf")
    text = svg.read_text()
    assert 'width="288pt" height="216pt"' in text and ">Figure 1</text>" in text and "font-size: 7px" in text
    assert pdf.read_bytes().startswith(b"%PDF-") and b"CreationDate" not in pdf.read_bytes()


def test_curves_of_a_sweep_are_drawn_per_family(trained: Trained, tmp_path: Path) -> None:
    from metarl_run.report.sweep import sweep

    for seed in (0, 1):
        trained(tmp_path / f"s/maml_e_{seed}_{seed}", VALIDATED, seed=seed)
    report = sweep.write(tmp_path / "s")
    assert [path.name for path in report.files if "learning" in path.name] == [
        "learning_curve.png",
        "learning_curve.svg",
    ]
