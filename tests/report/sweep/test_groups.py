"""Groups of jobs: one count per seed, tasks that seeds share, and notes on both."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from metarl_run.maths.statistics import bootstrap_interval
from metarl_run.report.sweep import sweep
from metarl_run.report.tasks import hash_of_tasks

MakeRun = Callable[..., Path]
Drawn = Callable[..., Figure]
RETURNS = {0: [[1.0, 4.0, 2.0, 9.0]], 1: [[3.0, 5.0, 8.0, 1.0]]}


def printed(report: sweep.SweepReport, encoding: str = "utf-8") -> str:
    bytes_written = io.BytesIO()
    with io.TextIOWrapper(bytes_written, encoding=encoding) as file:
        Console(file=file, width=300, force_terminal=False, color_system=None).print(report, crop=False)
        file.flush()
        return bytes_written.getvalue().decode(encoding)


def test_a_seed_that_was_run_twice_counts_once(make_run: MakeRun, tmp_path: Path) -> None:
    for number, seed in enumerate((0, 1)):
        make_run(tmp_path / "once" / f"maml_e_{seed}_{number}", seed=seed, returns=RETURNS[seed])
    for number, seed in enumerate((0, 1, 0, 1, 1)):
        make_run(tmp_path / "again" / f"maml_e_{seed}_{number}", seed=seed, returns=RETURNS[seed])
    once, again = (sweep.write(tmp_path / name) for name in ("once", "again"))
    assert again.groups[0].curve is not None and once.groups[0].curve is not None
    widths = [group.curve["high"][0] - group.curve["low"][0] for group in (once.groups[0], again.groups[0])]
    assert widths[0] == pytest.approx(widths[1], rel=1e-12)
    assert (again.groups[0].seeds, again.groups[0].finished) == ([0, 1], "2/2")
    note = "maml_e_0_2 repeats seed 0 of maml_e_0_0, so it is left out."
    assert note in printed(again) and note in (tmp_path / "again" / "comparison.md").read_text()
    assert json.loads((tmp_path / "again" / "comparison.json").read_text())["groups"][0]["left_out"] == [
        "maml_e_0_2 repeats seed 0 of maml_e_0_0",
        "maml_e_1_3 repeats seed 1 of maml_e_1_1",
        "maml_e_1_4 repeats seed 1 of maml_e_1_1",
    ]


@pytest.mark.parametrize(
    "differing",
    [{"checkpoint_every": 5}, {"validate_every": 0}, {"meta_validation": {"num_tasks": 3}}, {"panel": "by memory"}],
)
def test_jobs_that_differ_in_what_does_not_matter_are_one(
    make_run: MakeRun, tmp_path: Path, differing: dict[str, Any]
) -> None:
    config = {"checkpoint_every": 10, "validate_every": 20, "meta_validation": {"num_tasks": 40}, "panel": None}
    make_run(tmp_path / "maml_e_0_0", returns=RETURNS[0], config=config)
    make_run(tmp_path / "maml_e_0_1", returns=RETURNS[0], config={**config, **differing})
    (group,) = sweep.write(tmp_path).groups
    assert group.seeds == [0] and len(group.left_out) == 1


def test_another_result_of_the_same_seed_is_no_second_seed(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_e_0_0", returns=RETURNS[0])
    make_run(tmp_path / "maml_e_0_1", returns=RETURNS[1])
    (group,) = sweep.write(tmp_path).groups
    assert group.left_out == ["maml_e_0_1 repeats seed 0 of maml_e_0_0, with another result"]
    assert group.curve is not None and group.curve["mean"] == [4.0]


def test_the_first_finished_job_counts_for_its_seed_and_failures_are_still_reported(
    make_run: MakeRun, tmp_path: Path
) -> None:
    make_run(tmp_path / "maml_e_0_0")
    failure = {"status": "failed", "algo": "maml", "env": "e", "seed": 0, "error": {"where": "loss", "reason": "nan"}}
    (tmp_path / "maml_e_0_0" / "summary.json").write_text(json.dumps(failure))
    make_run(tmp_path / "maml_e_0_1", env="e", returns=RETURNS[0])
    report = sweep.write(tmp_path)
    assert report.groups[0].finished == "1/1" and [job.name for job in report.failed] == ["maml_e_0_0"]


@pytest.mark.parametrize("older", [(), (0,), (0, 1)], ids=["new runs", "mixed", "old runs"])
@pytest.mark.parametrize("shared", [True, False])
def test_seeds_share_their_resampled_tasks_only_where_hashes_say_so(
    make_run: MakeRun, tmp_path: Path, shared: bool, older: Sequence[int]
) -> None:
    for seed, returns in RETURNS.items():
        hashes = [f"{task}" if shared else f"{seed}.{task}" for task in range(4)]
        made = make_run(tmp_path / f"maml_e_{seed}_{seed}", seed=seed, returns=returns, task_hashes=hashes)
        summary = json.loads((made / "summary.json").read_text())
        summary |= {"lifetime_returns": {"meta_test": returns[0]}}
        if seed not in older:  # only older runs list a fingerprint per task
            summary |= {"tasks_hash": {"meta_test": hash_of_tasks(summary.pop("task_hashes")["meta_test"])}}
        (made / "summary.json").write_text(json.dumps(summary))
    (group,) = sweep.write(tmp_path).groups
    values = [np.array(returns[0]) for returns in RETURNS.values()]
    low, high = bootstrap_interval(values, np.random.default_rng(0), same_tasks=shared)
    assert group.curve is not None and group.lifetime_return is not None
    assert (group.curve["low"], group.curve["high"]) == ([low], [high])
    assert (group.lifetime_return["low"], group.lifetime_return["high"]) == (low, high)


def test_one_task_has_no_interval(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    make_run(tmp_path / "maml_e_0_0", env="e", returns=[[3.0], [5.0]], lifetime_returns=[8.0])
    report = sweep.write(tmp_path)
    markdown = (tmp_path / "comparison.md").read_text()
    assert "| e | maml | 3.00 | 5.00 | 1/1 |" in markdown and "One task: no interval." in markdown
    assert "One task: no interval." in printed(report)
    group = json.loads((tmp_path / "comparison.json").read_text())["groups"][0]
    assert group["meta_test"]["low"] == [None, None] and group["lifetime_return"]["high"] is None
    assert "maml,e,,0,0.0,0.0,3.0,3.0,,," in (tmp_path / "comparison.csv").read_text()
    (axes,) = drawn(sweep, tmp_path).axes
    assert not axes.collections  # no band


def test_few_distinct_tasks_are_reported(make_run: MakeRun, tmp_path: Path) -> None:
    make_run(tmp_path / "maml_e_0_0", env="e", returns=[[3.0, 4.0]], task_hashes=["a", "a"])
    folder = make_run(tmp_path / "rl2_e_0_1", algo="rl2", env="e", returns=[[3.0, 4.0]], task_hashes=["a", "b"])
    summary = json.loads((folder / "summary.json").read_text())
    counts = {"meta_test": {"number": 2, "distinct": 2, "new": 0}}
    (folder / "summary.json").write_text(json.dumps(summary | {"held_out_tasks": counts}))
    text = printed(sweep.write(tmp_path))
    assert "maml on e: 2 held-out tasks, all alike." in text
    assert "rl2 on e: 2 held-out tasks, none of them new." in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_the_coverage_of_so_many_seeds_stands_beside_their_intervals(
    make_run: MakeRun, tmp_path: Path, encoding: str
) -> None:
    for seed in (0, 1, 2):
        make_run(tmp_path / f"maml_e_{seed}_{seed}", env="e", seed=seed)
    note = "a 95 % interval holds the mean in fewer cases: 75 % with 3 seeds."
    assert note in printed(sweep.write(tmp_path), encoding) and note in (tmp_path / "comparison.md").read_text()


def test_the_reason_for_no_verdict_is_below_the_table(make_run: MakeRun, tmp_path: Path) -> None:
    published = {"lifetime_return": 6.7, "deviation": None, "source": None}
    make_run(tmp_path / "maml_e_0_0", env="e", lifetime_returns=[6.0, 7.0], published=published)
    text = printed(sweep.write(tmp_path))
    assert "6.7, undecided" in text
    assert "maml on e: undecided: set published.deviation, the paper's ±, or published.num_tasks." in text


@pytest.mark.parametrize(
    ("column", "value"), [("episode_return", "inf"), ("env_steps_seen", "nan"), ("episodes_seen", "1e308")]
)
def test_a_job_with_a_number_that_cannot_be_calculated_with_has_no_result(
    make_run: MakeRun, tmp_path: Path, column: str, value: str
) -> None:
    path = make_run(tmp_path / "maml_e_0_0") / "adaptation.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[-1][column] = value
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    (failed,) = sweep.write(tmp_path).failed
    what = "return" if column == "episode_return" else column
    assert failed.problem == f"{what} of task 1 after 1 steps is {float(value)}"
