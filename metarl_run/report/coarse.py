"""Long lifetimes in few points: consecutive episodes are averaged, since single ones are noise that hides the curve."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from metarl_run.maths.statistics import by_step

MOST_POINTS = 50
"""Of one line in a picture."""

AVERAGED = ("episodes_seen", "env_steps_seen", "episode_return", "expected_return", "optimal_return")


def block_size(count: int, at_most: int) -> int:
    """How many of `count` consecutive points become one, so that at most `at_most` are left."""
    return max(1, -(-count // at_most))


def blocks(count: int, at_most: int) -> Iterator[slice]:
    """Consecutive parts of `count` points, at most `at_most`; the last one may be shorter."""
    size = block_size(count, at_most)
    return (slice(first, first + size) for first in range(0, count, size))


def coarse_curve(curve: Mapping[str, Sequence[Any]], at_most: int) -> dict[str, list[Any]]:
    """A curve of at most `at_most` points. An interval is the mean of those it stands for, so it is rather too wide."""
    parts = list(blocks(len(curve["mean"]), at_most))
    return {name: [mean_or_none(values[part]) for part in parts] for name, values in curve.items()}


def coarse_rows(rows: Sequence[Mapping[str, Any]], at_most: int) -> list[dict[str, Any]]:
    """Rows of at most `at_most` adaptation steps: a task's rows of consecutive steps become one with their means.

    Statistics over tasks then are those of such means, which is what they should be: a task's return in one pull of a
    bandit is 0 or 1.

    Args:
        rows: of one run.
        at_most: steps that are left.
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
    """Each averaged column's mean; None where it is not known of every row, or the table is of before it had it."""
    return {name: mean_or_none([row.get(name) for row in rows]) for name in AVERAGED}


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None unless every value is known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
