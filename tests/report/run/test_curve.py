"""The picture of a run."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from metarl_run.report.run import curve

MakeRun = Callable[..., Path]
Drawn = Callable[..., Figure]


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


EXACT = {"expected": ((11.0, 28.0), (21.0, 48.0)), "optimum": 60.0}


def test_the_exact_curve_and_the_optimum_are_drawn(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    (axes,) = drawn(curve, make_run(tmp_path / "run", **EXACT)).axes
    lines = [np.asarray(line.get_ydata(), float).tolist() for line in axes.lines]
    assert lines.count([19.5, 34.5]) == 1  # the means of `expected`
    assert lines.count([60.0, 60.0]) == 1
    assert lines.count([20.0, 35.0]) == 2  # the sampled mean and, of two tasks, the interquartile mean
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == [
        "mean, 95 % interval",
        "mean, exact",
        "interquartile mean",
        "tasks, 10th to 90th percentile",
    ]
    assert "optimum\n60.0" in [text.get_text() for text in axes.texts]
    assert axes.get_ylim()[0] < 60 < axes.get_ylim()[1]


def test_the_name_of_the_optimum_is_whole_and_beside_the_curves(
    make_run: MakeRun, tmp_path: Path, drawn: Drawn
) -> None:
    for optimum in (-12345.0, 0.5, 60.0, 3e6):
        figure = drawn(curve, make_run(tmp_path / str(optimum), **{**EXACT, "optimum": optimum}))
        (axes,) = figure.axes
        (name,) = (text for text in axes.texts if "optimum" in text.get_text())
        box = name.get_window_extent()
        assert box.x0 >= axes.bbox.x1 and box.x1 <= figure.bbox.x1
        assert box.y0 >= 0 and box.y1 <= figure.bbox.y1


def test_an_optimum_alone_is_drawn_and_nothing_is_where_neither_is_known(
    make_run: MakeRun, tmp_path: Path, drawn: Drawn
) -> None:
    (axes,) = drawn(curve, make_run(tmp_path / "memory", optimum=60.0)).axes
    (plain,) = drawn(curve, make_run(tmp_path / "cartpole")).axes
    assert [len(one.lines) - len(plain.lines) for one in (axes, plain)] == [1, 0]
    for one in (axes, plain):
        assert "mean, exact" not in [text.get_text() for text in one.figure.legends[0].get_texts()]
    assert not any("optimum" in text.get_text() for text in plain.texts)


def test_what_simple_policies_earn_is_drawn_beside_an_agent_with_memory(
    make_run: MakeRun, tmp_path: Path, drawn: Drawn
) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    known = {"action_share": [0.5], "constant_action": [14.0], "myopic": [21.7]}
    known["bayes_optimal"] = best = [9.0 + k for k in range(len(summary["meta_test"]["mean"]))]
    (folder / "summary.json").write_text(json.dumps({**summary, "memory": known}))
    (axes,) = drawn(curve, folder).axes
    heights = [np.asarray(line.get_ydata(), float).tolist() for line in axes.lines]
    assert [14.0, 14.0] in heights and [21.7, 21.7] in heights and best in heights
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    reached = f"Bayes-optimal, {100 * summary['lifetime_return']['mean'] / sum(best):.1f} % reached"
    assert labels[-3:] == ["best constant action: 14.0", "known mean rewards, myopic: 21.7", reached]


@pytest.mark.parametrize("steps", [1, 60])
def test_exact_curves_of_any_length(make_run: MakeRun, tmp_path: Path, steps: int) -> None:
    returns = [[float(step), step + 5.0] for step in range(steps)]
    run = make_run(tmp_path / "run", returns=returns, expected=returns, optimum=70.0)
    assert len(curve.write(run)) == 2


# --- Few tasks ---


@pytest.mark.parametrize("steps", [1, 3, 60])
def test_one_task_has_no_band(make_run: MakeRun, tmp_path: Path, drawn: Drawn, steps: int) -> None:
    run = make_run(tmp_path / "run", returns=[[float(step)] for step in range(steps)])
    (axes,) = drawn(curve, run).axes
    assert "one task: no interval" in [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert not any("95 %" in text.get_text() for text in axes.figure.legends[0].get_texts())
    assert all(bars.lines[1] == () for bars in axes.containers)  # no caps


def test_the_caption_says_how_many_tasks_are_distinct(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    folder = make_run(tmp_path / "run", task_hashes=["a", "a"])
    (axes,) = drawn(curve, folder).axes
    assert "2 held-out tasks, all alike · reinforce · seed 0" in [text.get_text() for text in axes.texts]
    (axes,) = drawn(curve, make_run(tmp_path / "old")).axes
    assert "2 held-out tasks · reinforce · seed 0" in [text.get_text() for text in axes.texts]


# --- Long lifetimes ---


def test_of_long_lifetimes_blocks_of_episodes_are_drawn(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    returns = [[float(step), step + 4.0, step + 11.0] for step in range(100)]
    (axes,) = drawn(curve, make_run(tmp_path / "run", returns=returns, expected=returns, optimum=200.0)).axes
    assert axes.get_ylabel() == "episode return, mean of 2 episodes"
    pairs = [2.0 * k + 0.5 for k in range(50)]
    lines = [(np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)) for line in axes.lines]
    means = [y for x, y in lines if len(x) == 50 and x == pytest.approx([20 * pair for pair in pairs])]
    assert len(means) == 3  # sampled, exact, interquartile
    assert sum(y == pytest.approx([pair + 5.0 for pair in pairs]) for y in means) == 2
    assert len(axes.get_xticks()) < 12


def test_short_lifetimes_are_drawn_episode_by_episode(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    (axes,) = drawn(curve, make_run(tmp_path / "run", returns=[[float(step), step + 1.0] for step in range(50)])).axes
    assert axes.get_ylabel() == "episode return"
    assert list(np.asarray(axes.lines[0].get_xdata())) == [20.0 * step for step in range(50)]


def test_of_returns_that_are_0_or_1_the_mean_alone_is_drawn(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    (axes,) = drawn(curve, make_run(tmp_path / "run", returns=[[0.0, 1.0, 1.0, 0.0, 1.0]] * 9)).axes
    assert [text.get_text() for text in axes.figure.legends[0].get_texts()] == ["mean, 95 % interval"]


@pytest.mark.parametrize("level", [0.1, 0.7])
def test_equal_returns_can_be_drawn_though_their_mean_is_rounded(
    make_run: MakeRun, tmp_path: Path, level: float
) -> None:
    assert len(curve.write(make_run(tmp_path / "run", returns=[[level] * 100] * 2))) == 2


@pytest.mark.parametrize("steps", [2, 60])
def test_an_outcome_has_a_panel_of_its_own_below(make_run: MakeRun, drawn: Drawn, tmp_path: Path, steps: int) -> None:
    returns, success = [[10.0, 30.0]] * steps, [[0.0, 1.0], *[[1.0, 1.0]] * (steps - 1)]
    run = make_run(tmp_path / "run", returns=returns, success=success)
    above, below = drawn(curve, run).axes
    assert (above.get_ylabel().partition(",")[0], below.get_ylabel()) == ("episode return", "success")
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "episodes seen in the task")
    assert below.lines[0].get_ydata()[0] == (0.5 if steps == 2 else 0.75)  # 60 steps in pairs
    assert below.get_ylim() == pytest.approx((-0.04, 1.04))
