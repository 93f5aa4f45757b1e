"""Long lifetimes reduced to few points by averaging consecutive episodes, whose noise would hide the curve."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from metarl_run.maths.statistics import by_step, outcome_columns

MOST_POINTS = 50
"""Maximum number of points of a line in a picture."""

AVERAGED = ("episodes_seen", "env_steps_seen", "episode_return", "expected_return", "optimal_return")


def block_size(count: int, at_most: int) -> int:
    """Number of consecutive points to merge, so that `count` points become at most `at_most`."""
    return max(1, -(-count // at_most))


def blocks(count: int, at_most: int) -> Iterator[slice]:
    """At most `at_most` consecutive blocks of `count` points; the last one may be shorter."""
    size = block_size(count, at_most)
    return (slice(first, first + size) for first in range(0, count, size))


def coarse_curve(curve: Mapping[str, Sequence[Any]], at_most: int) -> dict[str, list[Any]]:
    """A curve reduced to at most `at_most` points. Intervals are averaged too, so they are conservative."""
    parts = list(blocks(len(curve["mean"]), at_most))
    return {name: [mean_or_none(values[part]) for part in parts] for name, values in curve.items()}


def coarse_rows(rows: Sequence[Mapping[str, Any]], at_most: int) -> list[dict[str, Any]]:
    """Rows reduced to at most `at_most` adaptation steps: rows of consecutive steps of a task are averaged.

    Statistics over tasks are then those of the averages. Single steps would be misleading: the return of one pull of a
    bandit is 0 or 1.

    Args:
        rows: rows of one run.
        at_most: maximum number of steps that remain.
    """
    steps = list(by_step(rows).values())
    found: list[dict[str, Any]] = []
    for step, part in enumerate(blocks(len(steps), at_most)):
        of_task: dict[int, list[Mapping[str, Any]]] = {}
        for row in (row for here in steps[part] for row in here):
            of_task.setdefault(row["task"], []).append(row)
        found += [{**same[0], "adaptation_step": step, **means(same)} for same in of_task.values()]
    return found


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean of each averaged column; None where a row lacks a value, as in older tables without the column."""
    return {name: mean_or_none([row.get(name) for row in rows]) for name in (*AVERAGED, *outcome_columns(rows[0]))}


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None unless every value is known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
