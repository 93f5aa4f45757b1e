"""Task counts as text."""

import pytest

from metarl_run.report.tasks import (
    TaskCounts,
    benchmark_text,
    family_version,
    hash_of_tasks,
    held_out,
    remarkable,
    tasks_hash,
    tasks_text,
)


@pytest.mark.parametrize(
    ("number", "distinct", "new", "said"),
    [
        (200, 200, None, "200 held-out tasks"),
        (1, 1, None, "1 held-out task"),
        (5, 1, None, "5 held-out tasks, all alike"),
        (1008, 21, 0, "1008 held-out tasks, 21 distinct, none of them new"),
        (30, 3, 2, "30 held-out tasks, 3 distinct, 2 of them new"),
        (30, 3, 3, "30 held-out tasks, 3 distinct, all of them new"),
    ],
)
def test_tasks_as_text(number: int, distinct: int, new: int | None, said: str) -> None:
    counts: TaskCounts = {"number": number, "distinct": distinct, "new": new}
    assert tasks_text(counts) == said
    assert remarkable(counts) is ("," in said)


def test_older_runs_have_fingerprints_alone_or_nothing() -> None:
    assert held_out({"task_hashes": {"meta_test": ["a", "b", "a"]}}) == {"number": 3, "distinct": 2, "new": None}
    assert held_out({}) is None
    counts = {"number": 3, "distinct": 2, "new": 1}
    assert held_out({"held_out_tasks": {"meta_test": counts}, "task_hashes": {"meta_test": ["a"]}}) == counts


def test_the_hash_of_tasks_tells_other_tasks_and_another_order() -> None:
    lists = [["a"], ["a", "b"], ["b", "a"], ["a", "a"], ["ab"], ["a", "b", "a"]]
    assert len({hash_of_tasks(hashes) for hashes in lists}) == len(lists)
    assert hash_of_tasks(["a", "b"]) == hash_of_tasks(("a", "b"))


def test_a_list_of_an_older_run_has_the_hash_of_a_newer_one() -> None:
    hashes = ["a", "b", "a"]
    newer = {"tasks_hash": {"meta_test": hash_of_tasks(hashes)}}
    assert tasks_hash(newer) == tasks_hash({"task_hashes": {"meta_test": hashes}}) == hash_of_tasks(hashes)
    assert tasks_hash({}) is None and tasks_hash({"task_hashes": {"meta_test": []}}) is None


def test_a_benchmark_is_named_as_far_as_it_is_known() -> None:
    assert benchmark_text("1 (mujoco 4.0.0)", "61d0") == "version 1 (mujoco 4.0.0), held-out tasks 61d0"
    assert benchmark_text("2", None) == "version 2"
    assert benchmark_text(None, "61d0") == "held-out tasks 61d0"
    assert benchmark_text(None, None) == ""
    assert family_version({"family_version": "1"}) == "1" and family_version({}) is None
