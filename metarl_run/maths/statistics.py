"""Adaptation curves: statistics of adaptation rows over tasks and seeds.

A curve is a mapping of equally long lists: `adaptation_step`, `episodes_seen`, `env_steps_seen` (of one task, averaged
over tasks), and over tasks the `mean`, the interquartile mean `iqm`, and `low`, `high`: the 95 % bootstrap interval of
the mean, None for a single task. Where returns can be computed instead of sampled, it also has their mean `expected`,
and the mean `optimum` of the optimal policies; see `metarl_run.exact`. Every further column of the rows, such as
`success`, adds its mean and the ends of its interval: `success`, `success_low`, `success_high`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLUMNS = (
    "split",
    "iteration",
    "task",
    "adaptation_step",
    "episodes_seen",
    "env_steps_seen",
    "episode_return",
    "expected_return",
    "optimal_return",
    "seed",
)
"""Columns of an adaptation row: one per task and adaptation step.

`episode_return` is sampled. `expected_return` is its expectation, and `optimal_return` the largest expectation of any
policy in the task; each is None where it cannot be computed. Further columns are the family's outcomes, such as
`success`, see `metarl_run.env.base.TaskFamily`.
"""

CURVE = ("adaptation_step", "episodes_seen", "env_steps_seen", "mean", "iqm", "low", "high", "expected", "optimum")
"""Names of a curve's parts, its outcomes aside."""

EXACT = {"expected": "expected_return", "optimum": "optimal_return"}
"""Parts of a curve that exist only if every row has the column."""

RESAMPLES = 2000
RESAMPLES_AT_ONCE = 100
"""Chunk size, to bound memory: a number per resample and task."""

CONFIDENCE = 0.95


def interquartile_mean(x: np.ndarray) -> float:
    """The mean of the middle half of `x`, the outermost kept entries weighted by the fraction that lies inside.

    Source: Agarwal et al. (2021), arXiv:2108.13264; without fractional weights for counts divisible by 4.
    """
    ordered = np.sort(np.ravel(x))
    edges = np.arange(len(ordered) + 1) / len(ordered)  # entry i covers [edges[i], edges[i + 1]]
    inside = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return float((ordered * inside).sum() / inside.sum())


def bootstrap_interval(
    values: Sequence[np.ndarray], generator: np.random.Generator, *, same_tasks: bool = False
) -> np.ndarray:
    """The interval that holds the mean with 95 % confidence, by a bootstrap over seeds and tasks.

    Tasks of one seed share a meta-trained agent, so they are not independent, and pooling them gives intervals that are
    far too short. Seeds with tasks of their own are strata: seeds are drawn with replacement, then tasks within each.
    Seeds with the same tasks are crossed with them: a resample draws seeds, and one set of tasks for all of them.

    The bootstrap sees no more agents than there are seeds; for its coverage see
    `metarl_run.report.interval.COVERAGE`. With a single seed it covers the variation over tasks only.

    Args:
        values: one array per seed, `[tasks]` or `[tasks, points]`; a resample takes the same tasks at every point.
        generator: numpy randomness.
        same_tasks: entry i of every seed's array is of the same task.

    Returns:
        Its two ends, `[2]` or `[2, points]`; NaN if all values come from one task.

    Source: Davison & Hinkley (1997), Bootstrap Methods and Their Application (strata); Owen (2007), The pigeonhole
    bootstrap, arXiv:0712.1111 (crossed).
    """
    num_seeds = len(values)
    if max(map(len, values)) == 1 and (num_seeds == 1 or same_tasks):
        return np.full((2, *values[0].shape[1:]), np.nan)
    if same_tasks:
        crossed = np.stack(values, 1)  # [tasks, seeds, points]
        drawn = resampled_means(crossed.reshape(len(crossed), -1), generator)
        drawn = drawn.reshape(RESAMPLES, *crossed.shape[1:])
    else:
        drawn = np.stack([resampled_means(stratum, generator) for stratum in values], 1)  # [RESAMPLES, seeds, points]
    if num_seeds > 1:
        chosen = generator.integers(num_seeds, size=(RESAMPLES, num_seeds))
        # A seed drawn twice needs two independent resamples of tasks of its own.
        rows = np.arange(RESAMPLES)[:, None] if same_tasks else generator.integers(RESAMPLES, size=chosen.shape)
        means = drawn[rows, chosen].mean(1)
    else:
        means = drawn[:, 0]
    tail = (1 - CONFIDENCE) / 2
    ends: np.ndarray = np.quantile(means, [tail, 1 - tail], axis=0)
    return ends


def lifetime_statistics(values: Sequence[np.ndarray], *, same_tasks: bool = False) -> dict[str, float | None]:
    """Statistics of the lifetime return; the bootstrap has a fixed seed.

    Args:
        values: one array per seed, `[tasks]`.
        same_tasks: entry i of every seed's array is of the same task.

    Returns:
        `mean`; `low` and `high`, its 95 % interval; `std`, the standard deviation over the tasks of one seed, √ of its
        mean square over seeds; and for a single seed `standard_error`, std / √tasks, which the interval estimates by
        bootstrap. All but the mean are None for a single task.
    """
    low, high = map(float, bootstrap_interval(values, np.random.default_rng(0), same_tasks=same_tasks))
    several = all(len(of_seed) > 1 for of_seed in values)
    std = float(np.sqrt(np.mean([of_seed.var(ddof=1) for of_seed in values]))) if several else math.nan
    error = std / math.sqrt(len(values[0])) if len(values) == 1 else math.nan
    mean = float(np.mean([of_seed.mean() for of_seed in values]))
    unsure = {"low": low, "high": high, "std": std, "standard_error": error}
    return {"mean": mean, **{name: known(value) for name, value in unsure.items()}}


def known(x: float) -> float | None:
    """`x`, or None if it is NaN, which JSON lacks."""
    return None if math.isnan(x) else x


def resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Means of `[tasks, points]` over tasks drawn with replacement, `[RESAMPLES, points]`, by counts times values."""
    n, means = len(values), []
    for _ in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        drawn = generator.integers(n, size=(RESAMPLES_AT_ONCE, n))
        counts = np.stack([np.bincount(row, minlength=n) for row in drawn])
        means.append(counts.astype(float) @ values / n)
    return np.concatenate(means)


def strata(rows: Sequence[Mapping[str, Any]], column: str) -> list[np.ndarray]:
    """The values of one column, an array per seed."""
    by_seed: dict[Any, list[Any]] = {}
    for row in rows:
        by_seed.setdefault(row["seed"], []).append(row[column])
    return [np.array(by_seed[seed]) for seed in sorted(by_seed)]


def by_step(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """The rows after each adaptation step, the steps in order."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["adaptation_step"], []).append(row)
    return dict(sorted(found.items()))


def outcome_columns(row: Mapping[str, Any]) -> list[str]:
    """Names of the outcomes in an adaptation row."""
    return [name for name in row if name not in COLUMNS]


def outcomes_in(curve: Mapping[str, Any]) -> list[str]:
    """Names of the outcomes in a curve."""
    return [name for name in curve if f"{name}_low" in curve]


def curve_of(rows: Sequence[Mapping[str, Any]], *, same_tasks: bool = False) -> dict[str, list[Any]]:
    """The adaptation curve of rows of one evaluation, over one or several seeds; the bootstrap has a fixed seed.

    Args:
        rows: adaptation rows, see `COLUMNS`.
        same_tasks: rows of equal `task` are of the same task, whatever their seed.
    """
    if same_tasks:
        rows = sorted(rows, key=lambda row: row["task"])
    exact = [name for name, column in EXACT.items() if all(row.get(column) is not None for row in rows)]
    curve: dict[str, list[Any]] = {
        name: []
        for name in ("adaptation_step", "episodes_seen", "env_steps_seen", "mean", "iqm", "low", "high", *exact)
    }
    returns = []
    for step, here in by_step(rows).items():
        values = strata(here, "episode_return")
        returns.append(values)
        curve["adaptation_step"].append(int(step))
        curve["episodes_seen"].append(float(np.mean([row["episodes_seen"] for row in here])))
        curve["env_steps_seen"].append(float(np.mean([row["env_steps_seen"] for row in here])))
        curve["mean"].append(float(np.mean([v.mean() for v in values])))
        curve["iqm"].append(interquartile_mean(np.concatenate(values)))
        for name in exact:
            curve[name].append(float(np.mean([v.mean() for v in strata(here, EXACT[name])])))
    curve["low"], curve["high"] = intervals(returns, same_tasks=same_tasks)
    for name in outcome_columns(rows[0]) if rows else []:
        outcomes = [strata(here, name) for here in by_step(rows).values()]
        curve[name] = [float(np.mean([v.mean() for v in values])) for values in outcomes]
        curve[f"{name}_low"], curve[f"{name}_high"] = intervals(outcomes, same_tasks=same_tasks)
    return curve


def intervals(
    returns: Sequence[Sequence[np.ndarray]], *, same_tasks: bool
) -> tuple[list[float | None], list[float | None]]:
    """The bootstrap interval at each adaptation step, of `[step][seed]` arrays of task values.

    Steps with equally many tasks share their resamples.
    """
    alike: dict[tuple[int, ...], list[int]] = {}
    for step, values in enumerate(returns):
        alike.setdefault(tuple(map(len, values)), []).append(step)
    low, high = np.empty(len(returns)), np.empty(len(returns))
    for steps in alike.values():
        values = [np.stack(stratum, 1) for stratum in zip(*(returns[step] for step in steps), strict=True)]
        low[steps], high[steps] = bootstrap_interval(values, np.random.default_rng(0), same_tasks=same_tasks)
    return list(map(known, low.tolist())), list(map(known, high.tolist()))
