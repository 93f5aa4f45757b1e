"""Evaluation jobs: prefixes, common tasks, parts, and stored results."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diagnostic import CountsAdaptations, Succeeds

from metarl_run.algo.random import Random
from metarl_run.config.table import check_table, table_of
from metarl_run.config.validation import validate
from metarl_run.env.random_mdp import RandomMDP
from metarl_run.errors import ConfigError, NumericalError
from metarl_run.maths.planning import optimal_value
from metarl_run.network.product import IN_USE, LEVEL, use
from metarl_run.run.agent import build_agent
from metarl_run.run.products import FILE
from metarl_run.seeding import Streams
from metarl_run.system.interruption import Interrupted, StopRequest
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob, identity_of
from metarl_run.table.reproduce import Work
from metarl_run.table.run_job import returns_of, run_job

Completed = Callable[[dict[str, Any]], tuple[Work, list[str]]]
TheJob = Callable[..., EvaluationJob]


def totals_in(folder: Path, job: EvaluationJob) -> np.ndarray:
    run_job(folder, job, StopRequest())
    totals = store.read(folder, job).totals
    assert totals is not None
    return totals


@pytest.mark.parametrize("column", ["Random", "PSRL", "OPSRL", "UCRL2", "BEB", "Greedy"])
def test_a_long_lifetime_begins_as_a_short_one(
    column: str, config: dict[str, Any], work_of: Callable[..., Work], the_job: TheJob, tmp_path: Path
) -> None:
    """Hence rows that differ in n alone may share the longest lifetime."""
    config["table"] |= {"columns": [column], "rows": None}
    for agent in config["table"]["agents"].values():
        agent.pop("grid", None)
    long = replace(the_job(work_of(config), column), tasks=6, episodes=(2, 3, 7))
    together = totals_in(tmp_path / "long", long)
    for index, n in enumerate(long.episodes):
        alone = totals_in(tmp_path / f"short{n}", replace(long, episodes=(n,)))
        assert np.array_equal(alone[:, 0], together[:, index])


def test_rows_that_differ_in_n_alone_share_one_job(config: dict[str, Any], work_of: Callable[..., Work]) -> None:
    work = work_of(config)
    jobs = work.reporting(work.choices())
    assert {cell.row: job.episodes for cell, job in jobs.items() if cell.column == "Random"} == {
        "10": (2, 3),
        "25": (2, 3),
    }
    assert len({job.folder for job in jobs.values()}) == 1  # the other column waits for its tuning
    (ten, *_) = work.tuning.values()
    assert [job.setting for job in ten] == [{"epsilon": 1.0}, {"epsilon": 0.1}]
    assert {job.episodes for job in ten} == {(2, 3)}


def test_all_agents_meet_the_same_tasks_and_tuning_meets_others(
    config: dict[str, Any], completed: Completed, the_job: TheJob
) -> None:
    config["table"] |= {"measure": "fraction_of_optimum"}
    work, _ = completed(config)
    values = {
        (column, block): store.read(work.root / job.folder, job).optimum
        for column, block in (("Random", "as published"), ("eps-Greedy", "as published"), ("eps-Greedy", "true prior"))
        for job in [the_job(work, column, block)]
    }
    (first, *others) = values.values()
    assert len(first) == 12 and len(set(first.tolist())) == 12
    assert all(np.array_equal(first, other) for other in others)
    tuning = next(iter(work.tuning.values()))[0]
    assert not set(store.read(work.root / tuning.folder, tuning).optimum.tolist()) & set(first.tolist())


def test_the_planned_value_is_that_of_value_iteration_with_its_discount(
    config: dict[str, Any], completed: Completed, the_job: TheJob
) -> None:
    config["table"] |= {"measure": "fraction_of_optimum", "columns": ["Random"], "planning_discount": 0.5, "tasks": 6}
    work, _ = completed(config)
    job = the_job(work, "Random")
    family, _ = build_agent(job.config, Streams(0, torch.device("cpu")))
    task = family.sample(6, "meta_test", Streams(0, torch.device("cpu"))("table/reporting/tasks", 0))
    reward = task.mean_reward.double()
    after = reward.amax(-1)  # the second and last step
    first = (reward + 0.5 * torch.einsum("mijk,mk->mij", task.transition.double(), after)).amax(-1)[:, 0]
    assert store.read(work.root / job.folder, job).optimum == pytest.approx(first.numpy())
    undiscounted = optimal_value(task.transition, task.mean_reward, horizon=2)[:, 0]
    assert (undiscounted > first).any()


def test_random_actions_earn_what_they_must(config: dict[str, Any], completed: Completed, the_job: TheJob) -> None:
    """2 episodes of 2 steps with rewards of mean 1; over 400 tasks within five standard errors."""
    config["table"] |= {"columns": ["Random"], "rows": ["10"], "tasks": 400, "tasks_at_once": 400}
    work, _ = completed(config)
    job = the_job(work, "Random", row="10")
    totals = store.read(work.root / job.folder, job).totals
    assert totals is not None and totals.shape == (400, 1)
    assert abs(totals.mean() - 4) < 5 * totals.std() / 20


def test_finished_jobs_are_not_run_again(config: dict[str, Any], completed: Completed) -> None:
    work, first = completed(config)
    assert len(first) == len(set(first)) and sum("tuning" in name for name in first) == 4  # two settings, two blocks
    before = {path: path.stat().st_mtime_ns for path in work.root.rglob("*") if path.is_file()}
    _, again = completed({**config, "threads": 3})
    assert again == []
    assert {path: path.stat().st_mtime_ns for path in work.root.rglob("*") if path.is_file()} == before


def test_jobs_of_the_time_when_threads_ordered_sums_are_not_run_again(
    config: dict[str, Any], completed: Completed
) -> None:
    work, _ = completed(config)
    for path in work.root.rglob("life.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "threads": 1}))
    assert completed(config)[1] == []


def test_fewer_rows_are_read_from_the_longer_lifetime(config: dict[str, Any], completed: Completed) -> None:
    completed(config)
    config["table"]["rows"] = ["10"]
    assert completed(config)[1] == []


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"tuning_tasks": 12}, lambda name: "tuning" in name),
        ({"tasks": 18}, lambda name: "tuning" not in name),
        (
            {"blocks": {"as published": {}, "true prior": {"eps-Greedy": {"prior": {"reward_mean": 3.0}}}}},
            lambda name: "true prior" in name,
        ),
        ({"title": "another title"}, lambda name: False),
    ],
)
def test_only_changed_requests_run_again(
    change: dict[str, Any], touched: Callable[[str], bool], config: dict[str, Any], completed: Completed
) -> None:
    _, first = completed(config)
    config["table"] |= change
    _, again = completed(config)
    assert {name for name in first if touched(name)} <= set(again)
    assert not {name for name in first if not touched(name)} & set(again)


def test_longer_lifetimes_and_other_randomness_or_tasks_run_again(config: dict[str, Any], completed: Completed) -> None:
    config["table"]["columns"] = ["Random"]
    assert len(completed(config)[1]) == 1
    config["table"]["rows"] = ["10", "25", "50"]
    assert len(completed(config)[1]) == 1
    config["table"]["tasks_at_once"] = 4
    assert len(completed(config)[1]) == 1
    config["seed"] = 1
    assert len(completed(config)[1]) == 1
    config["env"]["reward_deviation"] = 2.0
    assert len(completed(config)[1]) == 1


def test_more_tasks_keep_finished_ones(config: dict[str, Any], completed: Completed, the_job: TheJob) -> None:
    work, _ = completed(config)
    job = the_job(work, "Random")
    first = store.read(work.root / job.folder, job).totals
    written = (work.root / job.folder / "tasks-000000-000006.npz").stat().st_mtime_ns
    config["table"]["tasks"] = 18
    work, _ = completed(config)
    job = the_job(work, "Random")
    more = store.read(work.root / job.folder, job).totals
    assert first is not None and more is not None and len(more) == 18
    assert np.array_equal(more[:12], first)
    assert (work.root / job.folder / "tasks-000000-000006.npz").stat().st_mtime_ns == written


def test_a_damaged_part_is_run_again(config: dict[str, Any], completed: Completed, the_job: TheJob) -> None:
    work, _ = completed(config)
    job = the_job(work, "Random")
    before = store.read(work.root / job.folder, job).totals
    part = work.root / job.folder / "tasks-000006-000012.npz"
    part.write_bytes(part.read_bytes()[:-40])
    assert store.read(work.root / job.folder, job).tasks_done == 6
    assert len(completed(config)[1]) == 1
    after = store.read(work.root / job.folder, job).totals
    assert before is not None and after is not None and np.array_equal(before, after)


def test_a_stop_comes_between_parts_and_keeps_them(
    config: dict[str, Any], work_of: Callable[..., Work], the_job: TheJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = work_of(config)
    job = the_job(work, "Random")
    stop = StopRequest()
    write = store.write_part

    def then_stop(*arguments: Any) -> None:
        write(*arguments)
        stop.exit_code = 130

    monkeypatch.setattr(store, "write_part", then_stop)
    with pytest.raises(Interrupted):
        run_job(work.root / job.folder, job, stop)
    result = store.read(work.root / job.folder, job)
    assert (result.tasks_done, result.complete, result.error) == (6, False, None)


def test_a_return_that_is_not_finite_is_a_failure_that_names_the_task(
    config: dict[str, Any], work_of: Callable[..., Work], the_job: TheJob
) -> None:
    config["env"]["meta_test"]["mean_reward"] = ["normal", 3e38, 0]  # ten of which are more than a float32 holds
    work = work_of(config)
    job = the_job(work, "Random")
    with pytest.raises(NumericalError, match="must be finite, got"):
        run_job(work.root / job.folder, job, StopRequest())
    summary = json.loads((work.root / job.folder / "summary.json").read_text())
    assert summary["status"] == "failed" and summary["error"]["exit_code"] == 4
    assert "return of task" in summary["error"]["where"]
    result = store.read(work.root / job.folder, job)
    assert not result.complete and result.error == summary["error"]


def test_all_jobs_of_a_table_multiply_by_its_libraries(
    config: dict[str, Any], work_of: Callable[..., Work], the_job: TheJob, tmp_path: Path
) -> None:
    job, before = replace(the_job(work_of(config), "Random"), tasks=1), IN_USE.choice
    odd = {**LEVEL, "per task, medium": "onednn"}
    (tmp_path / FILE).write_text(json.dumps({"products": odd}))
    try:
        run_job(tmp_path / "here", job, StopRequest(), shared=tmp_path / FILE)
        assert IN_USE.choice == odd
        run_job(tmp_path / "there", job, StopRequest())
        assert IN_USE.choice == LEVEL
    finally:
        use(before)


def test_the_identity_holds_influences_only(config: dict[str, Any], work_of: Any) -> None:
    """Names, folders and loggers may change without running again."""
    table = work_of(config).table
    other = {**config, "logger": {}, "output_root": "elsewhere", "meta_iterations": 3}
    assert identity_of(config, table, "reporting") == identity_of(other, table, "reporting")
    assert identity_of(config, table, "reporting") != identity_of(config, table, "tuning")
    # Stored returns are older than the key: its default is no part of them.
    assert "products" not in identity_of(config, table, "reporting")
    mkl = {**config, "products": "mkl"}
    assert identity_of(mkl, table, "reporting") == {**identity_of(config, table, "reporting"), "products": "mkl"}
    assert Random.remembers is False  # the case of an agent whose episodes are rollouts of their own is covered above


def test_an_outcome_is_that_of_the_last_episode(
    config: dict[str, Any], work_of: Callable[..., Work], the_job: TheJob
) -> None:
    job = the_job(work_of(config), "Random")
    asked = replace(job, identity={**job.identity, "outcome": "time"}, episodes=(1, 3))
    family, streams = Succeeds(horizon=4), Streams(0, torch.device("cpu"))
    found = returns_of(CountsAdaptations(), family, streams, asked, 0, 5)
    assert found["totals"].tolist() == [[4.0, 4.0]] * 5 and not len(found["optimum"])


def test_a_measure_is_an_outcome_of_the_family_or_one_of_returns(config: dict[str, Any]) -> None:
    config["table"] |= {"measure": "success"}
    with pytest.raises(ConfigError, match="must be one of lifetime_return, fraction_of_optimum, got 'success'"):
        check_table(config, {}, validate)
    known = [
        replace(c, arguments={**c.arguments, "outcomes": {"success": "max"}})
        for c in validate({**config, "table": None}, {})
    ]
    check_table(config, {}, lambda *_: known)
    assert table_of(config["table"]).outcome == "success"
    assert identity_of(config, table_of(config["table"]), "reporting")["outcome"] == "success"
    assert "outcome" not in identity_of(
        config, table_of({**config["table"], "measure": "lifetime_return"}), "reporting"
    )


def test_parts_say_which_benchmark_they_are_on_and_those_of_another_version_are_run_again(
    config: dict[str, Any], completed: Completed, the_job: TheJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, _ = completed(config)
    job = the_job(work, "Random")
    folder = work.root / job.folder
    result = store.read(folder, job)
    assert result.family_versions == ["1"] and result.tasks_hash
    greedy = the_job(work, "eps-Greedy")
    assert store.read(work.root / greedy.folder, greedy).tasks_hash == result.tasks_hash
    first = {part: store.part_file(folder, part).read_bytes() for part in job.parts}
    for part, text in first.items():
        with np.load(io.BytesIO(text)) as found:
            older = {name: found[name] for name in ("totals", "optimum", "seconds")}
        np.savez(store.part_file(folder, part), **older)
    assert (store.read(folder, job).family_versions, store.read(folder, job).tasks_hash) == ([], None)
    run_job(folder, job, StopRequest())
    assert store.read(folder, job).family_versions == []  # what is there of an older program is kept
    store.part_file(folder, job.parts[0]).write_bytes(first[job.parts[0]])
    store.part_file(folder, job.parts[1]).write_bytes(first[job.parts[1]])
    monkeypatch.setattr(RandomMDP, "version", 2)
    run_job(folder, job, StopRequest())
    again = store.read(folder, job)
    assert again.family_versions == ["2"] and again.tasks_hash == result.tasks_hash
