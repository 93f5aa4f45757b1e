"""The study of a search: what was tried and what came of it, in an SQLite file of Optuna's that survives any end.

A point is a trial of the study. It is RUNNING from when it is asked for until all of its seeds have ended, so that a
search that was stopped finds the points that it has to go on with. A sampler is made anew for each point, with a seed
of its own: a search that goes on asks for the points that it would have asked for.
"""

import contextlib
import json
import os
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.study import StudyDirection
from optuna.trial import TrialState

from metarl_run.config.search import Search
from metarl_run.config.search_space import Choices, Dimension
from metarl_run.errors import ResourceError, RunError, StateError
from metarl_run.files import plain_only

FILE = "study.db"
NAME = "search"
PATIENCE = 60.0
"""Seconds to wait for another process that writes to the study."""

FULL = ("disk is full", "disk I/O error", "readonly database", "unable to open")
"""Phrases of SQLite's where the disk is at fault."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class Point:
    """A point of the space that is tried: its number, and its values by key."""

    number: int
    values: Mapping[str, Any]


class Study:
    """The study in a folder, which is made if need be.

    Args:
        folder: of the sweep.
        search: that it belongs to.

    Raises:
        StateError: if the file is none of this program's, or of another search.
        ResourceError: if the disk refuses, here and in all methods.
    """

    def __init__(self, folder: Path, search: Search) -> None:
        self.path, self.search = folder / FILE, search
        with _refusals(self.path):
            self.study = optuna.create_study(
                study_name=NAME,
                storage=_storage(self.path),
                direction=StudyDirection.MINIMIZE if search.minimises else StudyDirection.MAXIMIZE,
                load_if_exists=True,
            )
            if "record" not in self.study.user_attrs:
                self.study.set_user_attr("record", json.dumps(search.record))
            _require_same(self.path, json.loads(self.study.user_attrs["record"]), search.record)
            self.study.set_user_attr("pruner", search.options.pruner)
            self.study.set_user_attr("most_validations", search.validations * len(search.options.seeds))
        self.space = {dimension.key: _distribution(dimension) for dimension in search.space}

    @property
    def trials(self) -> list[optuna.trial.FrozenTrial]:
        with _refusals(self.path):
            return self.study.get_trials(deepcopy=False)

    def next_points(self, at_once: int) -> list[Point]:
        """The points to run now: those that were begun, and others up to so many; none at the end of the search.

        They are asked for in batches of that size, also after a stop within a batch: each knows the results of the
        batches before.
        """
        trials = self.trials
        points = [self._begun(trial) for trial in trials if trial.state is TrialState.RUNNING]
        asked = sum(trial.state is not TrialState.WAITING for trial in trials)
        total = max(most_points(trials, self.search), len(trials))
        while len(points) < at_once and asked < total and not (points and asked % at_once == 0):
            with _refusals(self.path), _quiet():
                self.study.sampler = self._sampler(asked)
                trial = self.study.ask(self.space)
            points.append(Point(trial.number, trial.params))
            asked += 1
        return points

    def _begun(self, trial: optuna.trial.FrozenTrial) -> Point:
        """A point that was asked for; what a kill left out of its values follows from its number."""
        values = trial.params
        if values.keys() != self.space.keys():
            with _refusals(self.path), _quiet():
                self.study.sampler = self._sampler(trial.number)
                asked = optuna.trial.Trial(self.study, trial._trial_id)
                values = {key: asked._suggest(key, distribution) for key, distribution in self.space.items()}
        return Point(trial.number, values)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        (seed,) = np.random.SeedSequence((self.search.config["seed"], number)).generate_state(1)
        match self.search.options.sampler:
            case "random":
                return optuna.samplers.RandomSampler(seed=int(seed))
            case "cmaes":
                from metarl_run.search.cma import CmaEs

                return CmaEs(self.space, int(seed))
        return optuna.samplers.TPESampler(seed=int(seed), multivariate=True, constant_liar=True)

    def retry(self, *, also_failures: bool) -> None:
        """Put points that failed once more into the queue: always where disk, memory or a signal was at fault.

        Args:
            also_failures: those, too, that would fail again.
        """
        trials = self.trials
        tried_again = {trial.user_attrs.get("retry_of") for trial in trials}
        for trial in trials:
            theirs = trial.user_attrs.get("exit_code") == ResourceError.exit_code
            if trial.state is TrialState.FAIL and trial.number not in tried_again and (theirs or also_failures):
                with _refusals(self.path), _quiet():
                    self.study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})

    # --- What came of a point ---

    def complete(self, point: Point, value: float) -> None:
        with _refusals(self.path):
            self.study.tell(point.number, value)

    def prune(self, point: Point) -> None:
        with _refusals(self.path):
            self.study.tell(point.number, state=TrialState.PRUNED)

    def fail(self, point: Point, error: Exception) -> None:
        """A failure has a reason and no value."""
        reason = f"{error.where}: {error.reason}" if isinstance(error, RunError) else str(error)
        with _refusals(self.path):
            storage = self.study._storage
            trial = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, point.number)
            storage.set_trial_user_attr(trial, "reason", reason)
            storage.set_trial_user_attr(trial, "exit_code", getattr(error, "exit_code", None))
            self.study.tell(point.number, state=TrialState.FAIL)

    @property
    def best(self) -> Point | None:
        """The best of the completed points; None if there is none."""
        best = ranked(self.trials, self.search)[:1]
        return Point(best[0].number, best[0].params) if best else None

    def importance(self) -> dict[str, float]:
        """Share of each key in what makes points good, by PED-ANOVA; empty while too few points are complete.

        Source: Watanabe, Bansal and Hutter (2023), arXiv:2304.10255.
        """
        complete = [trial for trial in self.trials if trial.state is TrialState.COMPLETE]
        varied = [key for key in self.space if len({trial.params[key] for trial in complete}) > 1]
        if len(complete) < FEWEST or not varied:
            return {}
        with _refusals(self.path), _quiet():
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=varied)


FEWEST = 8
"""Completed points for an importance."""


def require_same(folder: Path, search: Search) -> None:
    """Raise StateError if the study in `folder` is of another search."""
    if (folder / FILE).exists():
        with _refusals(folder / FILE):
            storage = _storage(folder / FILE)
            if NAME not in optuna.get_all_study_names(storage):  # killed before it was made
                return
            study = optuna.load_study(study_name=NAME, storage=storage)
            if "record" in study.user_attrs:
                _require_same(folder / FILE, json.loads(study.user_attrs["record"]), search.record)


def _require_same(path: Path, before: Any, now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    if before == now:
        return
    before = before if isinstance(before, dict) else {}
    key = next(key for key in [*now, *before] if before.get(key) != now.get(key))
    reason = f"is the study of another search: {key} is {before.get(key)!s} there, and {now.get(key)!s} here"
    raise StateError(str(path), reason, "give another hydra.sweep.dir")


# --- From the jobs ---


def report(folder: Path, number: int, step: int, value: float) -> bool:
    """Report a validation of a run; True if its point falls behind the others, so that it should end.

    Args:
        folder: of the sweep.
        number: of the point.
        step: validations of the point so far, this one included.
        value: that others are compared with.
    """
    path = folder / FILE
    with _refusals(path), _quiet():
        study = optuna.load_study(study_name=NAME, storage=_storage(path))
        storage = study._storage
        trial = storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        if step not in storage.get_trial(trial).intermediate_values:  # else by a run that is resumed from before
            storage.set_trial_intermediate_value(trial, step, value)
        attrs = study.user_attrs
        pruner = _pruner(str(attrs.get("pruner")), int(attrs["most_validations"]))
        return bool(pruner.prune(study, storage.get_trial(trial)))


def _pruner(name: str, most: int) -> optuna.pruners.BasePruner:
    if name == "median":
        return optuna.pruners.MedianPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max(1, most))
    return optuna.pruners.NopPruner()


# --- Optuna and SQLite ---


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if isinstance(dimension, Choices):
        return optuna.distributions.CategoricalDistribution(dimension.texts)
    if dimension.whole:
        step = int(dimension.step or 1)
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), dimension.log, step)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, dimension.log, dimension.step)


def _storage(path: Path) -> optuna.storages.RDBStorage:
    """Connections last for one transaction each: none may be open in a process that forks."""

    def connect() -> sqlite3.Connection:
        os.close(plain_only(path, os.O_RDWR | os.O_CREAT))
        return sqlite3.connect(path, timeout=PATIENCE)

    return optuna.storages.RDBStorage(
        "sqlite://", engine_kwargs={"creator": connect, "poolclass": sqlalchemy.pool.NullPool}
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Do not tell what is new in Optuna."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What Optuna and SQLite say of the file, in one line."""
    try:
        yield
    except RunError:
        raise
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, optuna.exceptions.OptunaError, OSError) as error:
        cause = _root(error)
        reason = " ".join(str(cause).split())
        if isinstance(cause, OSError) or any(phrase in reason for phrase in FULL):
            raise ResourceError(str(path), f"cannot be used: {reason}") from error
        raise StateError(
            str(path), f"is no study of this program's: {reason}", "give another hydra.sweep.dir"
        ) from error
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # of a file that somebody else made
        reason = f"is no study of this program's: {' '.join(str(error).split())}"
        raise StateError(str(path), reason, "give another hydra.sweep.dir") from error


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def ranked(trials: Sequence[optuna.trial.FrozenTrial], search: Search) -> list[optuna.trial.FrozenTrial]:
    """Complete points, the best first."""
    sign = 1 if search.minimises else -1
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: sign * (trial.value or 0.0))


def most_points(trials: Sequence[optuna.trial.FrozenTrial], search: Search) -> int:
    """Points to try, those counted that are tried once more."""
    return search.options.trials + sum("retry_of" in trial.user_attrs for trial in trials)


def summary_of(trials: Sequence[optuna.trial.FrozenTrial]) -> dict[str, int]:
    """Number of points by state."""
    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return {name: sum(trial.state is state for trial in trials) for state, name in names.items()}
