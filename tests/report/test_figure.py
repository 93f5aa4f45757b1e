"""Pictures do not depend on what a user has set for pictures of his own."""

import itertools
import os
import subprocess
import sys
import types

import pytest

DRAWN = """
import hashlib, pathlib, sys
from metarl_run.report.figure import save
for path in save(pathlib.Path("picture"), 2, 1, lambda figure: figure.subplots().plot([0, 1])):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def hashes(folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", DRAWN], cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "no such thing"])
def test_whatever_backend_is_asked_for(backend, tmp_path):
    assert hashes(tmp_path, MPLBACKEND=backend) == hashes(tmp_path)


def test_whatever_a_matplotlibrc_says(tmp_path):
    usual = hashes(tmp_path)
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsavefig.dpi: 30\n")
    assert hashes(tmp_path) == usual


def test_a_name_with_a_dollar_is_no_formula(tmp_path):
    """Nor does it keep a picture from being drawn; numbers at logarithmic ticks are formulas."""
    from metarl_run.report.figure import save

    def draw(figure):
        axes = figure.subplots()
        axes.plot([1, 10, 100], label=r"$\frac{$")
        axes.set_yscale("log")
        axes.set_xticks([0, 1], [r"$x^{$", "b"])
        axes.set_title(r"$\nothing$", loc="left")
        axes.set_xlabel("$^")
        axes.legend()
        figure.suptitle(r"$a$ and \$")

    assert len(save(tmp_path / "picture", 3, 2, draw)) == 2


@pytest.mark.parametrize(
    ("heights", "distance", "expected"),
    [
        ([0.1, 0.5], 0.1, [0.1, 0.5]),
        ([0.5, 0.5], 0.1, [0.45, 0.55]),
        ([0.5, 0.5, 0.52], 0.1, [0.5 - 0.28 / 3, 0.5 + 0.02 / 3, 0.6 + 0.02 / 3]),  # around the mean, 1.52 / 3
        ([0.2, 0.5, 0.5], 0.1, [0.2, 0.45, 0.55]),
        ([0.99, 1.0, 1.0], 0.1, [0.8, 0.9, 1.0]),  # none above the axes
        ([], 0.1, []),
    ],
)
def test_names_that_would_overlap_stand_around_the_mean_of_their_heights(heights, distance, expected):
    from metarl_run.report.figure import apart

    assert apart(heights, distance) == pytest.approx(expected)


def test_names_at_the_ends_of_lines_are_whole_beside_the_axes_and_apart(drawn, tmp_path):
    """Also those of long options, and on a logarithmic axis."""
    from matplotlib.text import Text

    from metarl_run.report.figure import Label, name_ends

    def draw(figure):
        axes = figure.subplots()
        heights = [1.0, 1.01, 1.02, 90.0, 100.0]
        for y in heights:
            axes.plot([0, 10], [50, y])
        axes.set_yscale("log")
        labels = [Label(f"method {i} " + "x" * 100 * (i == 0), 10, y, "black") for i, y in enumerate(heights)]
        name_ends(axes, [*labels, Label("optimum", None, 95.0, "grey")])

    report = types.SimpleNamespace(save=None, write=lambda folder: report.save(folder / "picture", 5, 3, draw))
    figure = drawn(report, tmp_path)
    (axes,) = figure.axes
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the lines that lead to them
    assert len(boxes) == 6 and all(box.x0 > axes.bbox.x1 and box.x1 <= figure.bbox.x1 for box in boxes)
    ordered = sorted(boxes, key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 + 1 for low, high in itertools.pairwise(ordered))
    assert "…" in axes.texts[0].get_text() and len(axes.texts[0].get_text()) == 40
