"""The picture of a run."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from PIL import Image

from metarl_run.report import curve

MakeRun = Callable[..., Path]


def test_both_pictures_are_written_and_readable(make_run: MakeRun, tmp_path: Path) -> None:
    png, svg = curve.write(make_run(tmp_path / "run"))
    assert (png.name, svg.name) == ("adaptation_curve.png", "adaptation_curve.svg")
    with Image.open(png) as picture:
        assert picture.size == (1200, 780)
        assert len(set(picture.convert("L").resize((120, 78)).tobytes())) > 20  # something is drawn
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert sorted(path.name for path in png.parent.iterdir() if path.name.startswith(".")) == []


def test_equal_runs_give_equal_bytes(make_run: MakeRun, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in curve.write(make_run(tmp_path / "one"))]
    again = [path.read_bytes() for path in curve.write(make_run(tmp_path / "two"))]
    assert first == again
    other = [path.read_bytes() for path in curve.write(make_run(tmp_path / "three", returns=((1.0, 3.0), (2.0, 9.0))))]
    assert first[0] != other[0] and first[1] != other[1]


@pytest.mark.parametrize("steps", [1, 2, 60])
def test_any_number_of_adaptation_steps(make_run: MakeRun, tmp_path: Path, steps: int) -> None:
    returns = [[float(step), step + 5.0, step + 1.0] for step in range(steps)]
    assert len(curve.write(make_run(tmp_path / "run", returns=returns))) == 2


def test_the_global_style_is_left_alone(make_run: MakeRun, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    curve.write(make_run(tmp_path / "run"))
    assert dict(matplotlib.rcParams) == before


def test_a_summary_without_its_curve_is_not_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({key: summary[key] for key in summary if key != "meta_test"}))
    with pytest.raises(KeyError, match="meta_test"):
        curve.write(folder)
