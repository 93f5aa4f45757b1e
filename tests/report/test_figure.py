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
