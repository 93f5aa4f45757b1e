"""Names of the numbers that a job of a sweep may return to a sweeper that searches, such as Optuna's."""

import re
from collections.abc import Collection

from metarl_run.config.nearest import hint
from metarl_run.errors import ConfigError

CURVE = ("mean", "iqm", "low", "high", "expected", "optimum")
COSTS = ("wall_seconds", "cpu_seconds", "env_steps", "meta_train_env_steps", "env_steps_per_second")
IN_SUMMARY = (
    *(f"meta_test.{name}" for name in CURVE),
    *(f"lifetime_return.{name}" for name in ("mean", "low", "high", "std")),
    *COSTS,
)
"""Keys of summary.json; of a list, its last entry counts."""


def check_objective(key: str, outcomes: Collection[str] = ()) -> None:
    """Raise ConfigError unless a run may have such a number; columns of an algorithm's own are known at its end.

    Args:
        key: the configured objective.
        outcomes: of the task family.
    """
    known = (*IN_SUMMARY, *(f"meta_test.{name}" for name in outcomes))
    if key not in known and not re.fullmatch(r"(meta_train|time)/.+", key):
        wanted = f"must be one of {', '.join(known)}, or a column of metrics.csv such as meta_train/return_after"
        raise ConfigError("objective", f"{wanted}, got {key!r}", hint(key, known))


def is_cost(key: str) -> bool:
    """True of what is better small."""
    return key in COSTS[:-1] or key == "time/seconds" or "loss" in key or key == "lifetime_return.std"
