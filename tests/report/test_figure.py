"""Pictures do not depend on what a user has set for pictures of his own."""

import os
import subprocess
import sys

import pytest

DRAWN = """
import hashlib, pathlib, sys
from metarl_run.report.figure import save
for path in save(pathlib.Path("picture"), 2, 1, lambda figure: figure.subplots().plot([0, 1])):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def drawn(folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", DRAWN], cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "TkAgg", "no such thing"])
def test_whatever_backend_is_asked_for(backend, tmp_path):
    assert drawn(tmp_path, MPLBACKEND=backend) == drawn(tmp_path)


def test_whatever_a_matplotlibrc_says(tmp_path):
    usual = drawn(tmp_path)
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsavefig.dpi: 30\n")
    assert drawn(tmp_path) == usual


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
