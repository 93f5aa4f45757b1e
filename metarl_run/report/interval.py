"""95 % intervals as text: half-width, ends, and their coverage for few seeds."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

Z = 1.96
"""Half-width of a 95 % interval in standard errors of the mean."""

COVERAGE = {2: 50, 3: 75, 4: 80, 5: 84, 6: 86, 8: 89, 10: 90, 15: 92, 20: 92}
"""Coverage of the interval in %, by number of seeds, if all variation is between seeds.

A percentile bootstrap of n values underestimates the standard deviation by the factor √((n − 1) / n) and has short
tails. Source: simulation with normal seed effects and no task noise, repeated in tests/report/test_interval.py. Where
task noise dominates, coverage is 95 %.
"""


def half_width(statistics: Mapping[str, Any]) -> float | None:
    """Half of the width of [low, high]; None without an interval, as for a single task."""
    low, high = statistics["low"], statistics["high"]
    return None if low is None or high is None else (high - low) / 2


def plus_minus(statistics: Mapping[str, Any], shown: Callable[[float], str], sign: str) -> str:
    """` ±0.21`, or an empty string without an interval."""
    half = half_width(statistics)
    return "" if half is None else f" {sign}{shown(half)}"


def coverage_of(num_seeds: int) -> int:
    """Coverage for a number of seeds, from the next lower entry of `COVERAGE` if there is none.

    Args:
        num_seeds: number of seeds, ≥ 2.
    """
    return COVERAGE[max(known for known in COVERAGE if known <= num_seeds)]


def coverage_note(seeds: Collection[int]) -> str:
    """Caveats about intervals over few seeds, for the numbers of seeds of all intervals shown."""
    several = sorted({count for count in seeds if count > 1})
    sentences = ["The 95 % interval of one seed is over tasks alone, for that one agent."] if 1 in seeds else []
    if several:
        covered = ", ".join(f"{coverage_of(count)} % with {count} seeds" for count in several)
        sentences.append(f"Where seeds make the difference, a 95 % interval holds the mean in fewer cases: {covered}.")
    return " ".join(sentences)
