"""What is drawn alike in all panels of a comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from metarl_run.report.figure import FAINT, OWN_COLOURS
from metarl_run.report.sweep import sweep

MakeRun = Callable[..., Path]
Drawn = Callable[..., Figure]
STEADY = [[1.0, 2.0]] * 4


@pytest.fixture
def listed(make_run: MakeRun, tmp_path: Path) -> Path:
    """Two panels: seven methods by gradients, RL² and another by memory; two reference lines in both."""
    methods = {
        "by gradients": ("anil", "cavia", "e_maml", "fomaml", "maml", "meta_sgd", "promp"),
        "by memory": ("rl2", "varibad"),
        None: ("random", "scratch"),
    }
    number = 0
    for panel, algos in methods.items():
        for algo in algos:
            steps = 2 if algo == "varibad" else 4
            returns = [[10.0 * number + step, 10.0 * number + 2 * step] for step in range(steps)]
            make_run(
                tmp_path / f"{algo}_mdp_0_{number}", algo=algo, env="mdp", returns=returns, config={"panel": panel}
            )
            number += 1
    return tmp_path


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}


def test_reference_lines_keep_their_dash_and_heights_are_shared(listed: Path, drawn: Drawn) -> None:
    gradients, memory = drawn(sweep, listed).axes
    for name in ("Random actions", "From scratch"):
        here, there = lines(gradients)[name], lines(memory)[name]
        assert here.get_linestyle() == there.get_linestyle() and here.get_color() == there.get_color() == FAINT
    assert gradients.get_ylim() == memory.get_ylim() and gradients.get_ylim()[1] > 100


def test_rl2_has_a_colour_of_its_own(listed: Path, drawn: Drawn) -> None:
    drawn_lines = {name: line.get_color() for axes in drawn(sweep, listed).axes for name, line in lines(axes).items()}
    assert drawn_lines["RL²"] == OWN_COLOURS["rl2"]
    assert list(drawn_lines.values()).count(OWN_COLOURS["rl2"]) == 1


def test_names_stand_beside_the_lines_and_no_legend_covers_them(listed: Path, drawn: Drawn) -> None:
    figure = drawn(sweep, listed)
    for axes in figure.axes:
        assert axes.get_legend() is None
        assert {text.get_text() for text in axes.texts} == set(lines(axes))
    assert figure.get_supxlabel() == (
        "line: mean · band: 95 % interval over seeds and tasks · marker: one adaptation step · grey: reference lines"
    )


def test_a_method_that_lived_fewer_episodes_stops_there(listed: Path, drawn: Drawn) -> None:
    _, memory = drawn(sweep, listed).axes
    assert list(lines(memory)["VariBAD"].get_xdata()) == [0, 20] and list(lines(memory)["RL²"].get_xdata())[-1] == 60


def test_bands_of_many_lines_are_edges(listed: Path, drawn: Drawn) -> None:
    gradients, memory = drawn(sweep, listed).axes
    assert {band.get_alpha() for band in gradients.collections} == {0.04}
    assert {band.get_alpha() for band in memory.collections} == {0.1}


def test_an_optimum_leaves_the_axis_of_episodes_as_it_is(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    """Lifetimes of many episodes have an axis of powers, on which a margin of the linear one is a quarter of it."""
    sides = []
    for name, optimum in (("with", 60.0), ("without", None)):
        for number, algo in enumerate(("maml", "rl2")):
            place = tmp_path / name / f"{algo}_mdp_0_{number}"
            make_run(place, algo=algo, env="mdp", returns=STEADY, optimum=optimum, config={"panel": f"p{number}"})
        sides.append([axes.get_xlim() for axes in drawn(sweep, tmp_path / name).axes])
        assert {axes.get_xscale() for axes in drawn(sweep, tmp_path / name).axes} == {"symlog"}
    assert sides[0] == sides[1]
