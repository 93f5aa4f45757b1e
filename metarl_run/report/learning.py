"""Learning curves: the return on validation tasks in the course of meta-training, before and after adaptation.

A learning curve is a mapping of equally long lists: `iteration`, `env_steps` and `seconds` of meta-training so far, and
over tasks and seeds the mean return `before` adaptation and `after` its last step, each with the ends of its 95 %
interval, `before_low` and so on, None for a single task. `seconds` are None where no clock was read.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metarl_run.files import plain_only
from metarl_run.maths.statistics import intervals
from metarl_run.report.coarse import blocks, mean_or_none
from metarl_run.report.folder import LARGEST_TABLE, Adaptation, sound

FEWEST = 3
"""Minimum number of validations to draw a picture of: two show no shape."""

SIDES = ("before", "after")
TRAINING_AXES = {
    "iteration": "meta-iterations",
    "env_steps": "environment steps of meta-training",
    "seconds": "seconds of meta-training",
}
TRAINING = {side: f"meta_train/return_{side}" for side in SIDES}


@dataclass(frozen=True, kw_only=True)
class Learning:
    """The course of one run's meta-training.

    Attributes:
        validated: see `metarl_run.report.folder.Adaptation`.
        iterations, env_steps, seconds: of every meta-iteration; seconds are None where no clock was read.
        trained: mean returns on the training tasks of every meta-iteration, `before` and `after` adaptation.
    """

    validated: Mapping[int, Mapping[int, Sequence[float]]] = field(default_factory=dict)
    iterations: Sequence[int] = ()
    env_steps: Sequence[float] = ()
    seconds: Sequence[float | None] = ()
    trained: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Adaptation steps of a validation; of the shortest, if they differ."""
        return min((max(of_step) for of_step in self.validated.values()), default=0)


def read_learning(folder: Path, adaptation: Adaptation) -> Learning:
    """The course of meta-training in metrics.csv and timing.csv of a run folder.

    Raises:
        OSError, ValueError, KeyError, csv.Error: if a file cannot be read.
    """
    if not (folder / "metrics.csv").exists():
        return Learning(validated=adaptation.validated)
    wanted = ("env_steps", *TRAINING.values())
    rows = _columns(folder / "metrics.csv", wanted)
    clock = _columns(folder / "timing.csv", ("time/seconds",)) if (folder / "timing.csv").exists() else {}
    seconds, total = dict[int, float](), 0.0
    for iteration, (passed,) in clock.items():
        total += passed
        seconds[iteration] = total
    found = [x for x in sorted(rows) if all(map(sound, rows[x]))]
    return Learning(
        validated=adaptation.validated,
        iterations=found,
        env_steps=[rows[x][0] for x in found],
        seconds=[seconds.get(x) for x in found],
        trained={side: [rows[x][i] for x in found] for i, side in enumerate(SIDES, start=1)},
    )


def _columns(path: Path, names: Sequence[str]) -> dict[int, list[float]]:
    """Some columns of a table by its column `iteration`."""
    with open(path, encoding="utf-8", newline="", opener=plain_only) as file:
        if path.stat().st_size > LARGEST_TABLE:
            raise ValueError(f"{path.name} has more than {LARGEST_TABLE} bytes")
        table = csv.reader(file)
        header = next(table, [])
        if not set(names) <= {*header}:
            return {}
        iteration, *columns = (header.index(name) for name in ("iteration", *names))
        rows = [cells for cells in table if len(cells) == len(header)]
        return {int(cells[iteration]): [float(cells[column]) for column in columns] for cells in rows}


def learning_curve(runs: Sequence[Learning], *, same_tasks: bool = False) -> dict[str, list[Any]]:
    """The learning curve of runs that differ in their seeds, at the meta-iterations that all of them were validated at.

    Args:
        runs: one per seed.
        same_tasks: task i of every run is the same one.
    """
    known = [run.validated.keys() & set(run.iterations) for run in runs]
    iterations = sorted(set.intersection(*map(set, known))) if known else []
    iterations = [x for x in iterations if all(_sound(run, x) for run in runs)]
    curve: dict[str, list[Any]] = {"iteration": iterations}
    places = [{x: i for i, x in enumerate(run.iterations)} for run in runs]
    for name in ("env_steps", "seconds"):
        curve[name] = [
            mean_or_none([getattr(run, name)[place[x]] for run, place in zip(runs, places, strict=True)])
            for x in iterations
        ]
    for side in SIDES:
        returns = [[np.array(_returns(run, x, side)) for run in runs] for x in iterations]
        curve[side] = [float(np.mean([of_seed.mean() for of_seed in here])) for here in returns]
        alike = same_tasks and all(len({*map(len, here)}) == 1 for here in returns)
        curve[f"{side}_low"], curve[f"{side}_high"] = intervals(returns, same_tasks=alike) if returns else ([], [])
    return curve


def training_curve(runs: Sequence[Learning], at_most: int) -> dict[str, list[Any]]:
    """Mean returns on training tasks over meta-iterations, each point the mean of a block of consecutive ones.

    Args:
        runs: one per seed; only the meta-iterations of all of them count.
        at_most: maximum number of points.
    """
    count = min((len(run.iterations) for run in runs), default=0)
    named = [
        {"iteration": run.iterations, "env_steps": run.env_steps, "seconds": run.seconds, **run.trained} for run in runs
    ]
    return {
        name: [mean_or_none([x for run in named for x in run[name][:count][part]]) for part in blocks(count, at_most)]
        for name in ("iteration", "env_steps", "seconds", *SIDES)
    }


def _returns(run: Learning, iteration: int, side: str) -> Sequence[float]:
    of_step = run.validated[iteration]
    return of_step[min(of_step) if side == "before" else max(of_step)]


def _sound(run: Learning, iteration: int) -> bool:
    return all(sound(x) for side in SIDES for x in _returns(run, iteration, side))
