"""The number that a finished run returns to a sweeper that searches."""

import csv
import math
from pathlib import Path
from typing import Any

from metarl_run.errors import ConfigError, NumericalError
from metarl_run.report.folder import read_summary


def objective_of(folder: Path, key: str) -> float:
    """The number that `objective` names, of the finished run in `folder`: the last of a curve or column.

    Raises:
        ConfigError: if this run has no such number, with a list of those that it has.
        NumericalError: if it is not finite.
    """
    found = _in_rows(folder) if "/" in key else _in_summary(read_summary(folder))
    if key not in found:
        raise ConfigError("objective", f"this run has no {key}", f"one of {', '.join(found)}")
    value = float(found[key])
    if not math.isfinite(value):
        raise NumericalError(key, f"must be finite, got {value}")
    return value


def _in_summary(summary: Any, prefix: str = "") -> dict[str, float]:
    if isinstance(summary, dict):
        return {name: x for key, entry in summary.items() for name, x in _in_summary(entry, f"{prefix}.{key}").items()}
    last = summary[-1] if isinstance(summary, list) and summary else summary
    return {prefix[1:]: last} if isinstance(last, int | float) else {}


def _in_rows(folder: Path) -> dict[str, float]:
    """The last row of metrics.csv and timing.csv."""
    found: dict[str, float] = {}
    for path in (folder / "metrics.csv", folder / "timing.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found |= {key: float(cell) for key, cell in row.items() if "/" in key and cell}
    return found
