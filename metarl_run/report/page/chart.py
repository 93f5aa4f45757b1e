"""Charts of a page as plain records: the picture without JavaScript and the interactive one are drawn from the same."""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from metarl_run.maths.statistics import bootstrap_interval, by_step, interquartile_mean
from metarl_run.report.coarse import coarse_curve
from metarl_run.report.learning import SIDES, TRAINING_AXES, training_curve
from metarl_run.report.names import display_name
from metarl_run.report.run.terminal import number
from metarl_run.report.sweep.groups import Group
from metarl_run.report.sweep.jobs import Job

Chart = dict[str, Any]
"""`id`, `title`; `axes` and `measures`, labels by key; `levels`, horizontal lines; and `lines`.

A line has the index `g` of its group, `name`, `dashed`, `x`, a list by axis, and `y`, by measure a list of means and
maybe lists of the ends of their intervals; `seeds`, lines of single seeds with `seed`, `x` and `y`.
"""

MOST_POINTS = 40
"""Maximum number of points of a line."""

PROFILE_POINTS = 40

AXES = {
    "episodes_seen": "episodes seen in the task",
    "env_steps_seen": "environment steps in the task",
    "adaptation_step": "adaptation steps",
}


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """With five significant digits, which no eye tells from more."""
    return [None if value is None or not np.isfinite(value) else float(f"{value:.5g}") for value in values]


def by_env(groups: Sequence[Group]) -> dict[str, list[tuple[int, Group]]]:
    """The groups of each env with their indices."""
    found: dict[str, list[tuple[int, Group]]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group.env, []).append((index, group))
    return found


def adaptation_charts(groups: Sequence[Group]) -> Iterator[Chart]:
    """A chart for each env: returns and outcomes along lifetimes in held-out tasks."""
    for i, (env, members) in enumerate(by_env(groups).items()):
        lines = [_adaptation_line(index, group) for index, group in members if group.curve]
        if not lines:
            continue
        optima = {number(group.optimum): group.optimum for _, group in members if group.optimum is not None}
        outcomes = dict.fromkeys(name for _, group in members for name in group.outcomes)
        yield {
            "id": f"adaptation{i}",
            "title": display_name("env", env),
            "axes": AXES,
            "measures": {"mean": "episode return", "iqm": "interquartile mean return", **{x: x for x in outcomes}},
            "lines": lines,
            "levels": [{"name": f"optimum {text}", "y": y} for text, y in optima.items()] if len(optima) == 1 else [],
        }


def _adaptation_line(index: int, group: Group) -> dict[str, Any]:
    assert group.curve is not None
    curve = coarse_curve(group.curve, MOST_POINTS)
    y = {"mean": [curve["mean"], curve["low"], curve["high"]], "iqm": [curve["iqm"]]}
    y |= {name: [curve[name], curve[f"{name}_low"], curve[f"{name}_high"]] for name in group.outcomes}
    finished = [job for job in group.jobs if job.problem is None]
    return {
        "g": index,
        "name": group.name,
        "dashed": False,
        "x": {axis: rounded(curve[axis]) for axis in AXES},
        "y": {name: [rounded(values) for values in lists if None not in values] for name, lists in y.items()},
        "seeds": [_adaptation_of(job, group.outcomes) for job in finished] if len(finished) > 1 else [],
    }


def _adaptation_of(job: Job, outcomes: Sequence[str]) -> dict[str, Any]:
    """The line of one seed."""
    names = ("episodes_seen", "env_steps_seen", "episode_return", *outcomes)
    steps = by_step(job.rows)
    means = {name: [fmean(row[name] for row in here) for here in steps.values()] for name in names}
    iqm = [interquartile_mean(np.array([row["episode_return"] for row in here])) for here in steps.values()]
    whole: Mapping[str, Sequence[Any]] = {
        "mean": means.pop("episode_return"),
        "iqm": iqm,
        "adaptation_step": list(steps),
        **means,
    }
    curve = coarse_curve(whole, MOST_POINTS)
    return {
        "seed": job.seed,
        "x": {axis: rounded(curve[axis]) for axis in AXES},
        "y": {name: [rounded(curve[name])] for name in ("mean", "iqm", *outcomes)},
    }


def learning_charts(groups: Sequence[Group], curves: Sequence[Mapping[str, Sequence[Any]]]) -> Iterator[Chart]:
    """A chart for each env: returns on validation and on training tasks in the course of meta-training.

    Args:
        groups: of the page.
        curves: their learning curves.
    """
    for i, (env, members) in enumerate(by_env(groups).items()):
        lines = [line for index, group in members for line in _learning_lines(index, group, curves[index])]
        measures = {"validation": "return on validation tasks", "training": "return on training tasks"}
        shown = {name: label for name, label in measures.items() if any(name in line["y"] for line in lines)}
        if lines:
            yield {
                "id": f"learning{i}",
                "title": display_name("env", env),
                "axes": TRAINING_AXES,
                "measures": shown,
                "lines": lines,
                "levels": [],
            }


def _learning_lines(index: int, group: Group, curve: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Returns before adaptation, dashed, and after; of a group none of whose runs finished, as far as they came."""
    finished = [job for job in group.jobs if job.problem is None] or group.jobs
    runs = [job.learning for job in finished if job.learning.iterations]
    if not runs:
        return
    short = coarse_curve({"mean": curve["after"], **curve}, MOST_POINTS) if curve["iteration"] else None
    trained = training_curve(runs, MOST_POINTS)
    name = group.name if group.num_finished else f"{group.name}, unfinished"
    for side in SIDES:
        line = {"g": index, "name": f"{name}, {side}", "dashed": side == "before", "seeds": []}
        if short is not None:
            ends = [short[f"{side}{end}"] for end in ("", "_low", "_high")]
            x = {axis: rounded(short[axis]) for axis in TRAINING_AXES}
            yield {**line, "x": x, "y": {"validation": [rounded(values) for values in ends if None not in values]}}
        x = {axis: rounded(trained[axis]) for axis in TRAINING_AXES}
        yield {**line, "x": x, "y": {"training": [rounded(trained[side])]}}


# --- Distribution over tasks ---


def final_returns(group: Group) -> dict[Any, np.ndarray]:
    """Returns of the held-out tasks at the end of adaptation, in the order of the tasks, by seed."""
    found: dict[Any, np.ndarray] = {}
    for job in group.jobs:
        if job.problem is None:
            last = by_step(job.rows)
            rows = sorted(last[max(last)], key=lambda row: row["task"])
            found[job.name if job.seed is None else job.seed] = np.array([row["episode_return"] for row in rows])
    return found


def profile_charts(groups: Sequence[Group]) -> Iterator[Chart]:
    """A chart for each env: the fraction of tasks with at least some return at the end of adaptation.

    Source: performance profiles, Agarwal et al. (2021), arXiv:2108.13264.
    """
    for i, (env, members) in enumerate(by_env(groups).items()):
        returns = {index: final_returns(group) for index, group in members if group.curve}
        values = np.concatenate([x for found in returns.values() for x in found.values()] or [np.zeros(0)])
        if len(values) < 2 or values.min() == values.max():
            continue
        grid = np.linspace(values.min(), values.max(), PROFILE_POINTS)
        lines = []
        for index, found in returns.items():
            reached = [(x[:, None] >= grid).astype(float) for x in found.values()]  # [tasks, points] of each seed
            ends = bootstrap_interval(reached, np.random.default_rng(0))
            y = [np.mean([of_seed.mean(0) for of_seed in reached], 0), *([] if np.isnan(ends).any() else ends)]
            line = {"g": index, "name": groups[index].name, "dashed": False, "x": {"return": rounded(grid.tolist())}}
            lines.append({**line, "y": {"fraction": [rounded(part.tolist()) for part in y]}, "seeds": []})
        yield {
            "id": f"profile{i}",
            "title": display_name("env", env),
            "axes": {"return": "episode return τ at the end of adaptation"},
            "measures": {"fraction": "fraction of tasks with at least τ"},
            "lines": lines,
            "levels": [],
        }


class Improvement(NamedTuple):
    """Probability that a method earns more than another in a task, a tie counting half.

    Attributes:
        probability: its estimate.
        low, high: ends of its 95 % interval; None for a single task.
        paired: the methods were compared in the same tasks, else in any of both.
    """

    probability: float
    low: float | None
    high: float | None
    paired: bool


def improvements(
    members: Sequence[tuple[int, Group]], over: Container[int] | None = None
) -> dict[tuple[int, int], Improvement]:
    """Probability of improvement of the first over the second, for pairs of groups of one env.

    Args:
        members: the groups and their indices.
        over: indices of which one at least is in each pair; None for all pairs.

    Source: Agarwal et al. (2021), arXiv:2108.13264; within tasks where both methods were tested in the same ones.
    """
    returns = {index: final_returns(group) for index, group in members if group.curve}
    hashes = {index: group.tasks_hashes for index, group in members}
    found: dict[tuple[int, int], Improvement] = {}
    together: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for first, second in combinations(returns, 2):
        if over is not None and first not in over and second not in over:
            continue
        same = [x for x in returns[first] if x in hashes[first] and hashes[first][x] == hashes[second].get(x)]
        together.setdefault((tuple(same), *((first, second) if not same else ())), []).append((first, second))
    for (seeds, *_), pairs in together.items():
        if seeds:
            better = [
                np.stack([_better(returns[a][seed], returns[b][seed]) for a, b in pairs], 1) for seed in seeds
            ]  # [tasks, pairs] of each seed
            ends = bootstrap_interval(better, np.random.default_rng(0))
            means = np.mean([of_seed.mean(0) for of_seed in better], 0)
            for i, pair in enumerate(pairs):
                low, high = (None if np.isnan(end) else float(end) for end in ends[:, i])
                found[pair] = Improvement(float(means[i]), low, high, True)
        else:
            ((a, b),) = pairs
            x, y = (np.concatenate([*returns[index].values()]) for index in (a, b))
            found[a, b] = Improvement(float(_better(x[:, None], y).mean()), None, None, False)
    for (a, b), way in [*found.items()]:
        low, high = (None if end is None else 1 - end for end in (way.high, way.low))
        found[b, a] = Improvement(1 - way.probability, low, high, way.paired)
    return found


def _better(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.where(x == y, 0.5, x > y)
