"""Results beside those that papers published."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metarl_run.report import sweep
from metarl_run.report.published import precise, told, verdict
from metarl_run.report.terminal import RunReport

MakeRun = Callable[..., Path]
SOURCE = "RL², Duan et al. 2016, Table 2"
TABLE_2 = {"lifetime_return": 156.2, "deviation": None, "source": SOURCE}


@pytest.mark.parametrize(
    ("mean", "deviation", "said"),
    [
        (156.2, 0.0, "matched"),
        (200.0, 0.0, "matched"),
        (155.0, 0.0, "short by 1.2"),
        (155.0, 1.2000001, "matched"),
        (155.0, 1.1, "short by 1.2"),
        # The interval below is 1.96 wide: half a standard error is 0.25, so three are 1.5.
        (154.71, None, "matched"),
        (154.69, None, "short by 1.51"),
    ],
)
def test_matched_is_no_less_than_the_published_result_within_its_deviation(
    mean: float, deviation: float | None, said: str
) -> None:
    life = {"mean": mean, "low": mean - 0.98, "high": mean + 0.98}
    assert verdict(life, {"lifetime_return": 156.2, "deviation": deviation}) == said


def test_negative_returns_are_compared_alike() -> None:
    life = {"mean": -20.0, "low": -21.0, "high": -19.0}
    assert verdict(life, {"lifetime_return": -30.0, "deviation": 0.0}) == "matched"
    assert verdict(life, {"lifetime_return": -10.0, "deviation": 0.0}) == "short by 10"


def test_what_is_published_is_told_as_far_as_it_is_known() -> None:
    assert told(TABLE_2) == f"156.2 ({SOURCE})"
    assert told({"lifetime_return": 862.1, "deviation": 11.5, "source": None}) == "862.1 ± 11.5"


@pytest.mark.parametrize(("value", "text"), [(157.46, "157.5"), (15.746, "15.75"), (-1.5746, "-1.575"), (100, "100.0")])
def test_returns_are_shown_as_precisely_as_papers_do(value: float, text: str) -> None:
    assert precise(value) == text


def printed(renderable: object, width: int = 80, encoding: str = "utf-8") -> list[str]:
    bytes_written = io.BytesIO()
    with io.TextIOWrapper(bytes_written, encoding=encoding) as file:
        Console(file=file, width=width, force_terminal=False, color_system=None).print(renderable, crop=False)
        file.flush()
        return bytes_written.getvalue().decode(encoding).splitlines()


def screen(folder: Path, **options: Any) -> list[str]:
    return printed(RunReport(json.loads((folder / "summary.json").read_text()), folder), **options)


def test_the_screen_of_a_run_compares_with_what_is_published(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", published={**TABLE_2, "lifetime_return": 1250.5, "deviation": 4.0})
    lines = screen(folder)
    assert "lifetime return  1234.0 (1200.0 to 1300.0), short by 16.5" in lines
    assert f"published        1250.5 ± 4 ({SOURCE})" in lines
    plain = screen(make_run(tmp_path / "plain"))
    assert "lifetime return  1234 (1200 to 1300)" in plain and not any("published" in line for line in plain)


def test_a_source_can_be_shown_in_ascii(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", published={**TABLE_2, "source": "RL², José"})
    assert "published        156.2 (RL2, Jose)" in screen(folder, encoding="ascii")


def test_a_sweep_compares_too(make_run: MakeRun, tmp_path: Path) -> None:
    for seed, returns in enumerate(([150.0, 160.0], [155.0, 165.0])):
        make_run(
            tmp_path / f"rl2_b_{seed}_{seed}",
            algo="rl2",
            env="b",
            seed=seed,
            lifetime_returns=returns,
            published=TABLE_2,
        )
    make_run(tmp_path / "ucb_b_0_2", algo="ucb", env="b", lifetime_returns=[140.0, 140.0])
    report = sweep.write(tmp_path)
    rl2, ucb = report.groups
    assert rl2.lifetime_return is not None and rl2.lifetime_return["mean"] == 157.5
    assert 150.0 <= rl2.lifetime_return["low"] < 157.5 < rl2.lifetime_return["high"] <= 165.0
    assert ucb.lifetime_return == {"mean": 140.0, "low": 140.0, "high": 140.0} and ucb.published is None
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| k=0 | k=1 | lifetime return | published | seeds |" in markdown
    assert (
        "| 157.5 ±" in markdown and "| 156.2, matched | 2/2 |" in markdown and "| 140.0 ±0.00 | – | 1/1 |" in markdown
    )
    assert f"Published: {SOURCE}." in markdown
    groups = json.loads((tmp_path / "comparison.json").read_text())["groups"]
    assert [group["published"] for group in groups] == [TABLE_2, None]
    for width in (60, 80, 120):
        table = [line for line in printed(report, width=width) if "comparison." not in line]
        assert max(map(len, table)) <= width
        assert any("157.5 ±" in line and "156.2, matched" in line for line in table)
        assert any("k=0" in line for line in table) == (width == 120)


def test_without_anything_published_a_sweep_says_nothing_of_lifetimes(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_e_0_0", lifetime_returns=[1.0, 2.0])
    report = sweep.write(tmp_path)
    said = "\n".join(printed(report)) + (tmp_path / "comparison.md").read_text()
    assert "published" not in said.lower() and "lifetime" not in said
    with (tmp_path / "comparison.csv").open(newline="") as file:
        assert next(csv.reader(file))[-2:] == ["seeds_finished", "seeds"]


def test_lifetimes_that_a_job_did_not_record_are_not_compared(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_e_0_0", seed=0, lifetime_returns=[1.0, 2.0], published=TABLE_2)
    make_run(tmp_path / "maml_e_1_1", seed=1, published=TABLE_2)
    (group,) = sweep.write(tmp_path).groups
    assert group.lifetime_return is None
    assert "| – | 156.2 | 2/2 |" in (tmp_path / "comparison.md").read_text()
