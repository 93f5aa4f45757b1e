"""The numbers of a cell: its mean over tasks, how sure that is, and what the paper's number of tasks would show."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from metarl_run.report.published import Z

PAPER_TASKS = 1000
"""Over which papers take their means."""


def as_measured(totals: np.ndarray, episodes: int, value: np.ndarray) -> np.ndarray:
    """What each task contributes to the number that the paper prints.

    Without planned values that is the sum of rewards x. With them the paper's number is a ratio of means,

        r = x̄ / (n v̄),        yᵢ = r + (xᵢ − r n vᵢ) / (n v̄)

    and yᵢ has the mean r and, to first order in 1/√tasks, the deviation that makes r's standard error.

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


def summary(values: Sequence[np.ndarray]) -> dict[str, Any]:
    """Mean and 95 % interval, and the view over as many tasks as papers have.

    A single agent's interval is mean ± 1.96 standard errors over tasks. Several meta-trained agents are seeds: theirs
    is the stratified bootstrap over seeds, then tasks.

    Args:
        values: of each seed, `[tasks]`, the same tasks for all; one array for a hand-made agent.

    Returns:
        `ours`, `low`, `high`; `first_1000`, the mean over the first 1000 tasks (of fewer, over all); and
        `deviation_1000`, the standard deviation of a mean over 1000 tasks.
    """
    stacked = np.stack(values)
    by_task = stacked.mean(0)
    mean, deviation = float(by_task.mean()), float(by_task.std(ddof=1))
    if len(values) > 1:
        from metarl_run.evaluation import bootstrap_interval  # late: torch comes with it, and few tables need it

        low, high = map(float, bootstrap_interval(values, np.random.default_rng(0)))
    else:
        half = Z * deviation / math.sqrt(len(by_task))
        low, high = mean - half, mean + half
    return {
        "ours": mean,
        "low": low,
        "high": high,
        "first_1000": float(by_task[:PAPER_TASKS].mean()),
        "deviation_1000": deviation / math.sqrt(PAPER_TASKS),
    }


def paired(ours: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """The mean difference between two agents in the same tasks, and its 95 % interval: `difference`, `low`, `high`."""
    differences = ours - other
    mean = float(differences.mean())
    half = float(Z * differences.std(ddof=1) / math.sqrt(len(differences)))
    return {"difference": mean, "low": mean - half, "high": mean + half}


ROUNDING = 1e-9


def matched(ours: float, published: float, tolerance: float, *, one_sided: bool) -> bool:
    """Is our number the paper's within the tolerance? A learned agent may also be better."""
    short = published - ours if one_sided else abs(published - ours)
    return short <= tolerance + ROUNDING
