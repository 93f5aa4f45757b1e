"""A 95 % interval in words: half its width, its ends, and how often it holds the mean where there are few seeds."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

Z = 1.96
"""Standard errors of the mean in half a 95 % interval."""

COVERAGE = {2: 50, 3: 75, 4: 80, 5: 84, 6: 86, 8: 89, 10: 90, 15: 92, 20: 92}
"""By number of seeds, in how many of 100 cases the interval holds the mean if seeds alone make the difference.

A percentile bootstrap of n numbers has the standard deviation √((n − 1) / n) of what it should have, and short tails.
Source: simulation with normal seed effects and no task noise, derived again in tests/report/test_interval.py. Where
task noise dominates, the interval covers its 95 %.
"""


def half_width(statistics: Mapping[str, Any]) -> float | None:
    """Half of the interval [low, high]; None where there is none, as of one task."""
    low, high = statistics["low"], statistics["high"]
    return None if low is None or high is None else (high - low) / 2


def plus_minus(statistics: Mapping[str, Any], shown: Callable[[float], str], sign: str) -> str:
    """` ±0.21`, or nothing where there is no interval."""
    half = half_width(statistics)
    return "" if half is None else f" {sign}{shown(half)}"


def coverage_of(num_seeds: int) -> int:
    """What `COVERAGE` says of so many seeds, or of the next lower number that it knows.

    Args:
        num_seeds: at least 2.
    """
    return COVERAGE[max(known for known in COVERAGE if known <= num_seeds)]


def coverage_told(seeds: Collection[int]) -> str:
    """What a reader must know of intervals over so many seeds; the counts of all intervals shown."""
    several = sorted({count for count in seeds if count > 1})
    told = ["The 95 % interval of one seed is over tasks alone, for that one agent."] if 1 in seeds else []
    if several:
        covered = ", ".join(f"{coverage_of(count)} % with {count} seeds" for count in several)
        told.append(f"Where seeds make the difference, a 95 % interval holds the mean in fewer cases: {covered}.")
    return " ".join(told)
