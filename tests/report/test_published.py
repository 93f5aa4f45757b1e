"""Results compared with published ones."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from metarl_run.maths.statistics import lifetime_statistics
from metarl_run.report.published import precise, published_text, verdict
from metarl_run.report.run.terminal import RunReport
from metarl_run.report.sweep import sweep

MakeRun = Callable[..., Path]
SOURCE = "RL², Duan et al. 2016, Table 2"
TABLE_2 = {"lifetime_return": 156.2, "deviation": None, "source": SOURCE}


def life_of(mean: float, *, std: float | None = 30.0, num_tasks: int = 1000) -> dict[str, float | None]:
    """Lifetime returns of one agent whose returns have this mean and deviation over tasks."""
    error = None if std is None else std / math.sqrt(num_tasks)
    ends = {"low": None, "high": None} if error is None else {"low": mean - 1.96 * error, "high": mean + 1.96 * error}
    return {"mean": mean, **ends, "std": std, "standard_error": error}


def published(number: float = 156.2, **known: Any) -> dict[str, Any]:
    return {"lifetime_return": number, "deviation": None, "num_tasks": None, "source": None, **known}


@pytest.mark.parametrize(
    ("mean", "deviation", "said"),
    [
        (156.2, 1.0, "matched"),
        (200.0, 1.0, "matched"),
        (155.0, 1.1, "short by 1.2"),
        (155.0, 1.2000001, "matched"),
    ],
)
def test_matched_is_no_less_than_the_published_result_within_its_plus_minus(
    mean: float, deviation: float, said: str
) -> None:
    assert str(verdict(life_of(mean, std=3.0), published(deviation=deviation))) == said


@pytest.mark.parametrize(("mean", "said"), [(153.4, "matched"), (153.3, "short by 2.9"), (999.0, "matched")])
@pytest.mark.parametrize("num_tasks", [1000, 100_000])
def test_without_plus_minus_three_standard_errors_of_the_papers_tasks_count_as_equal(
    mean: float, said: str, num_tasks: int
) -> None:
    """3 · 30 / √1000 = 2.846, however many tasks of our own there are."""
    assert str(verdict(life_of(mean, num_tasks=num_tasks), published(num_tasks=1000))) == said


def test_an_untrained_agent_on_six_tasks_matches_nothing() -> None:
    """It earns 5.0 where 6.7 is published; three standard errors of its own mean are 2.0."""
    ignorant = lifetime_statistics([np.array([3.0, 7.0, 4.0, 6.0, 5.0, 5.0]) * 1.1 - 0.5])
    said = verdict(ignorant, published(6.7, num_tasks=1000))
    assert said.word == "undecided"
    assert said.reason.startswith("our standard error 0.64 is above a third of the tolerance 0.148")


def test_as_many_tasks_as_the_paper_are_enough_for_a_verdict() -> None:
    returns = np.random.default_rng(0).normal(156.0, 30.0, 1000)
    assert verdict(lifetime_statistics([returns]), published(num_tasks=1000)).word == "matched"
    assert verdict(lifetime_statistics([returns[:900]]), published(num_tasks=1000)).word == "undecided"


def test_what_lies_far_outside_is_short_however_unsure_the_mean() -> None:
    assert verdict(life_of(50.0, num_tasks=100), published(num_tasks=1000)).word == "short by 106"


@pytest.mark.parametrize(
    ("life", "known", "reason"),
    [
        (life_of(200.0), {}, "set published.deviation, the paper's ±, or published.num_tasks"),
        (life_of(200.0, std=None), {"deviation": 1.0}, "our mean has no interval"),
        (life_of(200.0, std=None), {"num_tasks": 1000}, "the spread over our own tasks is not known"),
        (
            {"mean": 200.0, "low": 190.0, "high": 210.0},
            {"deviation": 1.0},
            "our standard error 5.1 is above a third of",
        ),
    ],
)
def test_an_undecided_verdict_has_a_reason(life: dict[str, Any], known: dict[str, Any], reason: str) -> None:
    said = verdict(life, published(**known))
    assert said.word == "undecided" and said.reason.startswith(reason) and str(said).startswith("undecided: ")


def test_older_runs_without_the_papers_tasks_can_be_read() -> None:
    old = {"lifetime_return": 156.2, "deviation": 2.0, "source": None}
    assert verdict({"mean": 155.0, "low": 154.5, "high": 155.5}, old).word == "matched"
    assert verdict({"mean": 155.0, "low": 154.5, "high": 155.5}, {**old, "deviation": None}).word == "undecided"


def test_negative_returns_are_compared_alike() -> None:
    life = life_of(-20.0, std=1.0)
    assert verdict(life, published(-30.0, deviation=1.0)).word == "matched"
    assert verdict(life, published(-10.0, deviation=1.0)).word == "short by 10"


def test_published_numbers_are_shown_as_far_as_known() -> None:
    assert published_text(TABLE_2) == f"156.2 ({SOURCE})"
    assert published_text({"lifetime_return": 862.1, "deviation": 11.5, "source": None}) == "862.1 ± 11.5"


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
    folder = make_run(tmp_path / "run", published={**TABLE_2, "lifetime_return": 1450.5, "deviation": 100.0})
    lines = screen(folder)
    assert "lifetime return  1234.0 (1200.0 to 1300.0), short by 216" in lines
    assert f"published        1450.5 ± 100 ({SOURCE})" in lines
    plain = screen(make_run(tmp_path / "plain"))
    assert "lifetime return  1234 (1200 to 1300)" in plain and not any("published" in line for line in plain)


def test_a_source_can_be_shown_in_ascii(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", published={**TABLE_2, "source": "RL², José"})
    assert "published        156.2 (RL2, Jose)" in screen(folder, encoding="ascii")


def test_a_sweep_compares_too(make_run: MakeRun, tmp_path: Path) -> None:
    for seed, returns in enumerate(([157.0, 157.5], [157.5, 158.0])):
        make_run(
            tmp_path / f"rl2_b_{seed}_{seed}",
            algo="rl2",
            env="b",
            seed=seed,
            lifetime_returns=returns,
            published={**TABLE_2, "deviation": 1.5},
        )
    make_run(tmp_path / "ucb_b_0_2", algo="ucb", env="b", lifetime_returns=[140.0, 140.0])
    report = sweep.write(tmp_path)
    rl2, ucb = report.groups
    assert rl2.lifetime_return is not None and rl2.lifetime_return["mean"] == 157.5
    assert 157.0 <= rl2.lifetime_return["low"] < 157.5 < rl2.lifetime_return["high"] <= 158.0
    assert ucb.lifetime_return == lifetime_statistics([np.array([140.0, 140.0])]) and ucb.published is None
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| k=0 | k=1 | lifetime return | published | seeds |" in markdown
    assert (
        "| 157.5 ±" in markdown and "| 156.2, matched | 2/2 |" in markdown and "| 140.0 ±0.00 | – | 1/1 |" in markdown
    )
    assert f"Published: {SOURCE}." in markdown
    groups = json.loads((tmp_path / "comparison.json").read_text())["groups"]
    assert [group["published"] for group in groups] == [{**TABLE_2, "deviation": 1.5}, None]
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
