"""Statistics of a cell: mean over tasks, confidence interval, and the spread of a mean over the paper's task count."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_run.report.interval import Z
from metarl_run.report.published import within

PAPER_TASKS = 1000
"""Number of tasks that papers average over."""


def as_measured(totals: np.ndarray, episodes: int, value: np.ndarray) -> np.ndarray:
    """Contribution of each task to the number that the paper prints.

    Without planned values this is the sum of rewards x. With them the paper's number is a ratio of means,

        r = x̄ / (n v̄),        yᵢ = r + (xᵢ − r n vᵢ) / (n v̄)

    where yᵢ has mean r and, to first order in 1/√tasks, the standard deviation that gives r's standard error.

    Args:
        totals: x, `[tasks]`.
        episodes: n.
        value: v, planned for one episode of each task, `[tasks]`; empty if the paper prints sums.

    Source: Cochran (1977), Sampling Techniques (ratio estimate).
    """
    if not len(value):
        return totals
    scale = episodes * value.mean()
    ratio = totals.mean() / scale
    return np.asarray(ratio + (totals - ratio * episodes * value) / scale)


def summary(values: Sequence[np.ndarray], *, same_tasks: bool = True) -> dict[str, Any]:
    """Mean and 95 % interval, and the same statistics for as many tasks as papers have.

    The interval of a single agent is mean ± 1.96 standard errors over tasks; that of several meta-trained agents, one
    per seed, is a bootstrap over seeds and tasks.

    Args:
        values: per seed, `[tasks]`; one array for a classical agent.
        same_tasks: True if all seeds were tested in the same tasks, in the same order.

    Returns:
        `ours`, `low`, `high`; `standard_error`, half of the interval / 1.96; `first_1000`, the mean over the first 1000
        tasks (all, if there are fewer); and `deviation_1000`, the standard deviation of a mean over 1000 tasks.
    """
    stacked = np.stack(values)
    by_task = stacked.mean(0)
    mean, std = float(by_task.mean()), float(by_task.std(ddof=1))
    if len(values) > 1:
        from metarl_run.maths.statistics import bootstrap_interval

        low, high = map(float, bootstrap_interval(values, np.random.default_rng(0), same_tasks=same_tasks))
    else:
        half = Z * std / math.sqrt(len(by_task))
        low, high = mean - half, mean + half
    return {
        "ours": mean,
        "low": low,
        "high": high,
        "standard_error": (high - low) / (2 * Z),
        "first_1000": float(by_task[:PAPER_TASKS].mean()),
        "deviation_1000": std / math.sqrt(PAPER_TASKS),
    }


def paired(ours: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Mean difference between two agents in the same tasks with its 95 % interval: `difference`, `low`, `high`."""
    differences = ours - other
    mean = float(differences.mean())
    half = float(Z * differences.std(ddof=1) / math.sqrt(len(differences)))
    return {"difference": mean, "low": mean - half, "high": mean + half}


def matched(
    ours: float, published: float, tolerance: float, *, one_sided: bool, standard_error: float | None
) -> bool | None:
    """Test that our number is the paper's within the tolerance, or better if `one_sided`; None if undecided."""
    return within(published - ours if one_sided else abs(published - ours), tolerance, standard_error)
