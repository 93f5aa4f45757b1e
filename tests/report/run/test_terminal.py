"""Terminal output at the end of a run."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from metarl_run.report.folder import evenly, short
from metarl_run.report.run.terminal import CurvePlot, RunReport, duration, headline, number, thousands
from metarl_run.report.tasks import hash_of_tasks

MakeRun = Callable[..., Path]

RISING = {
    "adaptation_step": [0, 1, 2, 3],
    "episodes_seen": [0.0, 20.0, 40.0, 60.0],
    "env_steps_seen": [0.0, 600.0, 4000.0, 8000.0],
    "mean": [31.0, 120.0, 180.0, 194.0],
    "iqm": [30.0, 121.0, 181.0, 195.0],
    "low": [28.0, 110.0, 175.0, 190.0],
    "high": [34.0, 130.0, 185.0, 197.0],
}


EXACT = {**RISING, "expected": [31.5, 118.0, 181.0, 195.0], "optimum": [200.0] * 4}


def printed(renderable: object, *, width: int = 80, encoding: str = "utf-8") -> list[str]:
    bytes_written = io.BytesIO()
    with io.TextIOWrapper(bytes_written, encoding=encoding) as file:
        Console(file=file, width=width, force_terminal=False, color_system=None).print(renderable, crop=False)
        file.flush()
        return bytes_written.getvalue().decode(encoding).splitlines()


def marks(lines: list[str], mark: str) -> list[tuple[int, int]]:
    """(column, row) of every point drawn, from left to right."""
    return sorted((at, row) for row, line in enumerate(lines) for at, sign in enumerate(line) if sign == mark)


def test_a_rising_curve_rises() -> None:
    lines = printed(CurvePlot(RISING))
    points = marks(lines, "●")
    assert len(points) == 4
    rows = [row for _, row in points]
    assert rows == sorted(rows, reverse=True) and rows[0] > rows[-1]


def test_a_falling_curve_falls() -> None:
    falling = {**RISING, **{name: RISING[name][::-1] for name in ("mean", "low", "high")}}
    rows = [row for _, row in marks(printed(CurvePlot(falling)), "●")]
    assert rows == sorted(rows)


def test_axes_show_the_extremes() -> None:
    lines = printed(CurvePlot(RISING))
    assert "197" in lines[0] and "28.0" in lines[9]  # highest and lowest end of an interval
    assert lines[11].split() == ["0", "20", "40", "60"]
    assert "episodes seen" in lines[12]


def test_points_stand_above_their_labels() -> None:
    lines = printed(CurvePlot(RISING))
    labels = [(found.start() + found.end() - 1) / 2 for found in re.finditer(r"\d+", lines[11])]
    for (column, _), label in zip(marks(lines, "●"), labels, strict=True):
        assert abs(label - column) <= 0.5


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_long_lifetime_is_a_smooth_line(width: int, encoding: str) -> None:
    """500 episodes whose returns jump by 0.8 from one to the next, and rise by 1 in all."""
    mean = [step / 500 + 0.4 * (-1) ** step for step in range(500)]
    long = {
        "adaptation_step": list(range(500)),
        "episodes_seen": [float(step) for step in range(500)],
        "env_steps_seen": [float(step) for step in range(500)],
        "mean": mean,
        "iqm": mean,
        "low": [x - 0.01 for x in mean],
        "high": [x + 0.01 for x in mean],
    }
    lines = printed(CurvePlot(long), width=width, encoding=encoding)
    plot = [re.split(r"[┤│|+]", line, maxsplit=1)[1].strip() for line in lines[:10]]
    assert max(map(len, lines)) <= width
    assert all(1 <= len(row) <= width / 4 for row in plot)  # each row holds a short part of one line
    labels = [float(label) for label in lines[11].split()]
    assert 2 <= len(labels) <= 12 and labels == sorted(labels)
    assert labels[0] < 30 and labels[-1] > 470  # the middle of the first block and of the last


def test_the_table_of_a_long_lifetime_has_a_dozen_rows(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", returns=[[float(step), step + 1.0] for step in range(500)])
    lines = printed(RunReport(json.loads((folder / "summary.json").read_text()), folder))
    steps = [int(line.split()[0]) for line in lines if line.strip() and line.split()[0].isdigit() and "to" in line]
    assert len(steps) == 12 and steps[:2] == [0, 1] and steps[-1] == 499


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("steps", [1, 3])
def test_one_task_has_no_interval(make_run: MakeRun, tmp_path: Path, encoding: str, steps: int) -> None:
    folder = make_run(tmp_path / "run", returns=[[7.0 + step] for step in range(steps)])
    summary = json.loads((folder / "summary.json").read_text())
    life = {"mean": 7.0, "low": None, "high": None, "std": None, "standard_error": None}
    lines = printed(RunReport(summary | {"lifetime_return": life}, folder), encoding=encoding)
    assert ["0", "0", "0", "7.00", "–" if encoding == "utf-8" else "-", "7.00"] in [
        line.replace("|", " ").split() for line in lines
    ]
    assert "interval         one task: no interval" in lines
    assert "lifetime return  7.00 (one task: no interval)" in lines
    assert not any(" to " in line for line in lines)


def test_few_distinct_tasks_are_reported(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    counts = {"number": 1008, "distinct": 21, "new": 0}
    lines = printed(RunReport(summary | {"held_out_tasks": {"meta_test": counts}}, folder))
    assert "tasks            1008 held-out tasks, 21 distinct, none of them new" in lines
    assert not any("held-out" in line for line in printed(RunReport(summary, folder)))


def test_what_actions_depend_on_is_told(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text())
    shares = {"action_share": [0.836], "action_share_states_shuffled": [0.84], "action_share_memory_shuffled": [0.5]}
    told = "actions follow   the state 0.00, the memory 0.34; of 1 at most"
    assert told in printed(RunReport(summary | {"memory": shares}, folder))
    assert not any("follow" in line for line in printed(RunReport(summary, folder)))


@pytest.mark.parametrize("level", [0.0, 5.0])
def test_a_flat_curve_can_be_drawn(level: float) -> None:
    flat = {**RISING, **{name: [level] * 4 for name in ("mean", "low", "high")}}
    assert len({row for _, row in marks(printed(CurvePlot(flat)), "●")}) == 1


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_everything_fits(make_run: MakeRun, tmp_path: Path, width: int, encoding: str) -> None:
    folder = make_run(tmp_path / "r")
    summary = json.loads((folder / "summary.json").read_text()) | {"meta_test": RISING}
    lines = printed(RunReport(summary, folder), width=width, encoding=encoding)
    kept = [line for line in lines if short(folder) not in line and not line.startswith("  ")]
    if width >= 60:
        assert max(map(len, kept)) <= width
        assert any("190 to 197" in line for line in lines)
    assert any(line.strip().startswith("adaptation.csv") for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_ascii_is_enough(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text()) | {"meta_test": RISING}
    text = "\n".join(printed(RunReport(summary, folder), encoding="ascii"))
    assert text.isascii() and "?" not in text


def test_the_table_holds_the_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text()) | {"meta_test": RISING}
    lines = [line.split() for line in printed(RunReport(summary, folder))]
    assert ["1", "20", "600", "120", "110", "to", "130", "121"] in lines
    assert ["3", "60", "8000", "194", "190", "to", "197", "195"] in lines


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [60, 79, 80, 120])
def test_exact_means_stand_in_the_table_where_there_is_room(
    make_run: MakeRun, tmp_path: Path, width: int, encoding: str
) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text()) | {"meta_test": EXACT}
    lines = printed(RunReport(summary, folder), width=width, encoding=encoding)
    table = [line.replace("|", " ").split() for line in lines]  # what ASCII has for the border
    (titles,) = (words for words in table if "IQM" in words)
    row = ["1", "20", "600", "120", "110", "to", "130", "121"]
    assert titles[-1] == ("exact" if width >= 80 else "IQM")
    assert [*row, *(["118"] if width >= 80 else [])] in table
    assert [line.split()[:2] for line in lines if line.startswith("optimum")] == [["optimum", "200"]]
    assert max(len(line) for line in lines if short(folder) not in line and not line.startswith("  ")) <= width


def test_without_exact_returns_nothing_is_said_of_them(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    summary = json.loads((folder / "summary.json").read_text()) | {"meta_test": RISING}
    words = {word for line in printed(RunReport(summary, folder), width=120) for word in line.split()}
    assert "IQM" in words and not words & {"exact", "optimum"}


def test_paths_are_relative_when_that_is_shorter(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "outputs" / "run")
    summary = json.loads((folder / "summary.json").read_text())
    monkeypatch.chdir(tmp_path)
    assert any(line.endswith(" outputs/run/") for line in printed(RunReport(summary, folder)))
    monkeypatch.chdir("/")
    assert any(line.endswith("outputs/run/") for line in printed(RunReport(summary, folder)))


def test_headline() -> None:
    summary = {"algo": "maml", "env": "cartpole_family", "meta_test": RISING}
    assert headline(summary) == "maml on cartpole_family: 31.0 → 120 after one step (20 episodes), 194 after 3"
    slow = {**RISING, "episodes_seen": [0.0, 1.0, 2.0, 3.0]}
    assert "after one step (1 episode), 194" in headline({**summary, "meta_test": slow})
    one = {name: values[:1] for name, values in RISING.items()}
    assert headline({**summary, "meta_test": one}) == "maml on cartpole_family: return 31.0 without adaptation"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (-1.234, "-1.23"), (31.04, "31.0"), (193.6, "194"), (99.97, "100")]
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (950, "950"), (999.9, "1 k"), (412_345, "412 k"), (1.6e7, "16 M"), (3.44e9, "3.44 G")]
)
def test_thousands(value: float, text: str) -> None:
    assert thousands(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3661, "1 h 01 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 12, 13, 100])
@pytest.mark.parametrize("at_most", [2, 3, 12])
def test_evenly(count: int, at_most: int) -> None:
    chosen = list(evenly(count, at_most))
    assert len(chosen) == min(count, at_most) == len(set(chosen))
    assert chosen == sorted(chosen)
    assert not count or (chosen[0], chosen[-1]) == (0, count - 1)


def test_an_outcome_has_a_column_and_a_word_in_the_headline(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", success=((0.0, 0.25), (0.5, 1.0)))
    summary = json.loads((folder / "summary.json").read_text())
    told = "maml on cartpole_family: 20.0 → 35.0 after one step (20 episodes)"
    assert headline(summary) == f"{told} · success 0.12 → 0.75"
    lines = printed(RunReport(summary, folder))
    (titles,) = (line for line in lines if "95 %" in line)
    assert titles.split()[-1] == "success"
    assert [line.split()[-1] for line in lines if re.match(r" *[01] .* to ", line)] == ["0.12", "0.75"]


def test_the_report_names_the_version_of_the_family_and_the_tasks(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", task_hashes=["a", "b"])
    summary = json.loads((folder / "summary.json").read_text())
    assert "family " not in "\n".join(printed(RunReport(summary, folder)))  # an older run
    text = "\n".join(printed(RunReport({**summary, "family_version": "1 (mujoco 4.0.0)"}, folder), width=100))
    tasks = hash_of_tasks(["a", "b"])
    assert f"family           cartpole_family, version 1 (mujoco 4.0.0), held-out tasks {tasks}" in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_learning_curve_is_drawn_where_there_is_a_picture_of_it(
    trained: MakeRun, tmp_path: Path, encoding: str
) -> None:
    folder = trained(tmp_path / "run", {2: ((1.0,), (2.0,)), 4: ((1.0,), (5.0,)), 6: ((1.0,), (9.0,))})
    summary = json.loads((folder / "summary.json").read_text())
    about = "meta-iterations (validation, after 1 step)"
    assert not any(about in line for line in printed(RunReport(summary, folder), encoding=encoding))
    (folder / "learning_curve.png").touch()
    lines = printed(RunReport(summary, folder), encoding=encoding)
    (last,) = [i for i, line in enumerate(lines) if about in line]
    assert lines[last - 1].split() == ["2", "4", "6"]
    assert [line.split()[0] for line in lines[last - 7 : last - 2] if line.split()[0][0].isdigit()] == [
        "9.00",
        "5.50",
        "2.00",
    ]
