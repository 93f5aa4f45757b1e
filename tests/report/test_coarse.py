"""Consecutive episodes averaged into few points."""

import pytest

from metarl_run.report.coarse import block_size, blocks, coarse_curve, coarse_rows


@pytest.mark.parametrize(
    ("count", "at_most", "sizes"),
    [(0, 3, []), (1, 3, [1]), (3, 3, [1, 1, 1]), (4, 3, [2, 2]), (7, 3, [3, 3, 1]), (100, 1, [100])],
)
def test_blocks_by_hand(count: int, at_most: int, sizes: list[int]) -> None:
    points = list(range(count))
    assert [len(points[part]) for part in blocks(count, at_most)] == sizes
    assert [point for part in blocks(count, at_most) for point in points[part]] == points
    assert not sizes or block_size(count, at_most) == sizes[0]


def test_every_part_of_a_curve_is_averaged() -> None:
    curve = {"episodes_seen": [0.0, 1.0, 2.0, 3.0, 4.0], "mean": [0.0, 1.0, 0.0, 3.0, 7.0]}
    assert coarse_curve(curve, 3) == {"episodes_seen": [0.5, 2.5, 4.0], "mean": [0.5, 1.5, 7.0]}
    assert coarse_curve(curve, 5) == curve


def row(task: int, step: int, episode_return: float, expected: float | None) -> dict[str, object]:
    return {
        "split": "meta_test",
        "task": task,
        "adaptation_step": step,
        "episodes_seen": step,
        "env_steps_seen": 10 * step,
        "episode_return": episode_return,
        "expected_return": expected,
        "seed": 3,
    }


def test_rows_are_averaged_task_by_task() -> None:
    rows = [
        row(task, step, task + 0.1 * (step + 1), None if (task, step) == (0, 2) else 5.0 * task)
        for step in (2, 0, 1)  # in whatever order
        for task in (0, 7)
    ]
    found = coarse_rows(rows, 2)
    cells = [
        tuple(one[name] for name in ("task", "adaptation_step", "episodes_seen", "env_steps_seen")) for one in found
    ]
    assert cells == [(0, 0, 0.5, 5.0), (7, 0, 0.5, 5.0), (0, 1, 2.0, 20.0), (7, 1, 2.0, 20.0)]
    assert [one["episode_return"] for one in found] == pytest.approx([0.15, 7.15, 0.3, 7.3])
    assert [one["expected_return"] for one in found] == [0.0, 35.0, None, 35.0]
    assert [one["optimal_return"] for one in found] == [None] * 4  # of a table that is older than the column
    assert all((one["split"], one["seed"]) == ("meta_test", 3) for one in found)
