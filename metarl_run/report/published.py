"""Comparison of a result with the number that a paper published for it."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from metarl_run.report.interval import Z, half_width

STANDARD_ERRORS = 3
"""Standard errors of the paper's mean within which ours counts as equal, and of our own beyond which it differs."""

ROUNDING = 1e-9


class Verdict(NamedTuple):
    """Outcome of a comparison.

    Attributes:
        word: `matched`, `short by …` or `undecided`.
        reason: why it is undecided; else empty.
    """

    word: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


def published_text(published: Mapping[str, Any]) -> str:
    """The published number with its ± and source, where given."""
    plus_minus = "" if published["deviation"] is None else f" ± {published['deviation']:g}"
    source = "" if published["source"] is None else f" ({published['source']})"
    return f"{published['lifetime_return']:g}{plus_minus}{source}"


def verdict(ours: Mapping[str, Any], published: Mapping[str, Any]) -> Verdict:
    """Verdict on whether the mean is at least the published one less a tolerance, else by how much it falls short.

    The tolerance is the paper's ±. Without one it is 3 s / √n, three standard errors of a mean over the paper's n
    tasks, where s is the standard deviation over our own tasks, which are of the same family.

    Args:
        ours: `mean` of the lifetime return, `low` and `high` of its interval, `std` over tasks, `standard_error`.
        published: `lifetime_return`, `deviation`, `num_tasks`.
    """
    tolerance, std, num_tasks = published.get("deviation"), ours.get("std"), published.get("num_tasks")
    if tolerance is None:
        if num_tasks is None:
            return Verdict("undecided", "set published.deviation, the paper's ±, or published.num_tasks")
        if std is None:
            return Verdict("undecided", "the spread over our own tasks is not known")
        tolerance = STANDARD_ERRORS * std / math.sqrt(num_tasks)
    missing = published["lifetime_return"] - ours["mean"]
    error = standard_error(ours)
    right = within(missing, tolerance, error)
    if right is None:
        return Verdict("undecided", undecided(error, tolerance))
    return Verdict("matched" if right else f"short by {missing:.3g}")


def standard_error(ours: Mapping[str, Any]) -> float | None:
    """Standard error of our mean: as recorded, else half-width of its interval / 1.96; None without an interval."""
    half = half_width(ours)
    recorded: float | None = ours.get("standard_error")
    return half / Z if recorded is None and half is not None else recorded


def within(distance: float, tolerance: float, error: float | None) -> bool | None:
    """Test that our mean lies within the tolerance; None if it is too uncertain.

    A mean whose standard error exceeds a third of the tolerance never counts as matched, and counts as not matched only
    if it lies more than three standard errors outside. As many tasks as the paper's suffice for the third.

    Args:
        distance: distance from the published number; signed where better results count as matched, too.
        tolerance: in the same units, ≥ 0.
        error: standard error of our mean; None if unknown.
    """
    if error is None:
        return None
    if STANDARD_ERRORS * error <= tolerance * (1 + ROUNDING) + ROUNDING:
        return distance <= tolerance + ROUNDING
    return False if distance - tolerance > STANDARD_ERRORS * error else None


def undecided(error: float | None, tolerance: float) -> str:
    """The reason that `within` is undecided."""
    if error is None:
        return "our mean has no interval"
    return f"our standard error {error:.2g} is above a third of the tolerance {tolerance:.3g}; take more tasks or seeds"


def precise(x: float) -> str:
    """`x` with the precision of published returns: 157.5, 15.75, 1.575."""
    return f"{x:.1f}" if abs(x) >= 99.995 else f"{x:.2f}" if abs(x) >= 9.9995 else f"{x:.3f}"
