"""A result beside the number that a paper published for it."""

from collections.abc import Mapping
from typing import Any

STANDARD_ERRORS = 3
"""How far below it a mean may lie where the paper gives no deviation."""

Z = 1.96
"""Standard errors of the mean in half a 95 % interval."""


def told(published: Mapping[str, Any]) -> str:
    """The published number, its deviation and where it stands, as far as given."""
    deviation = "" if published["deviation"] is None else f" ± {published['deviation']:g}"
    source = "" if published["source"] is None else f" ({published['source']})"
    return f"{published['lifetime_return']:g}{deviation}{source}"


def verdict(life: Mapping[str, float], published: Mapping[str, Any]) -> str:
    """`matched` if the mean is at least the published one less its deviation; else how far below the published it is.

    Args:
        life: `mean` of the lifetime return, and `low` and `high` of its 95 % interval.
        published: `lifetime_return` and `deviation`; without one, three standard errors of the mean stand for it.
    """
    deviation = published["deviation"]
    if deviation is None:
        deviation = STANDARD_ERRORS * (life["high"] - life["low"]) / (2 * Z)
    missing = published["lifetime_return"] - life["mean"]
    return "matched" if missing <= deviation else f"short by {missing:.3g}"


def precise(x: float) -> str:
    """`x` as precisely as papers print returns: 157.5, 15.75, 1.575."""
    return f"{x:.1f}" if abs(x) >= 99.995 else f"{x:.2f}" if abs(x) >= 9.9995 else f"{x:.3f}"
