"""Jobs of a sweep, read from their folders: choices, and the result or the reason that there is none."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from metarl_run.config.renamed import with_current_targets
from metarl_run.config.settings import keys_that_affect, of_older_runs
from metarl_run.config.syntax import read_yaml
from metarl_run.errors import StateError
from metarl_run.files import read_json
from metarl_run.report.folder import Adaptation, printable, read_adaptation, read_summary, sound
from metarl_run.report.learning import Learning, read_learning
from metarl_run.report.tasks import TaskCounts, family_version, held_out, tasks_hash

MAY_DIFFER = ("seed", *keys_that_affect("nothing", "indirectly", "monitoring"))
"""Keys in which jobs of one group may differ: all but the seed do not matter to the result."""

CHOICES: tuple[str, ...] = ("algo", "env", "learner", "network", "experiment", "budget")
"""Options that are chosen by name."""


COUNTS = {"number": int, "distinct": int, "new": int}
SUMMARY: Mapping[str, Any] = {
    **dict.fromkeys((*CHOICES, "status", "panel"), str),
    **dict.fromkeys(("seed", "meta_iterations"), int),
    **dict.fromkeys(("meta_train_env_steps", "wall_seconds", "cpu_seconds"), float),
    "published": {"lifetime_return": float, "deviation": float, "num_tasks": int, "source": str},
    "error": {"where": str, "reason": str, "exit_code": int},
    "lifetime_returns": {"meta_test": [float]},
    "held_out_tasks": {"meta_test": COUNTS},
    "tasks_hash": {"meta_test": str},
    "family_version": str,
    "task_hashes": {"meta_test": [str]},
}
"""Kinds of what a comparison reads in summary.json; null is of every kind."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as recorded in its folder.

    Attributes:
        name: name of the folder.
        overrides: command-line overrides, if recorded.
        choices: known options among `CHOICES`.
        config: every configuration key, dotted, without those in `MAY_DIFFER`.
        rows: meta-test rows; empty if the job failed.
        adaptation: all of its adaptation.csv, as far as it came.
        lifetime_returns: one per meta-test task; empty if the job failed or an older version did not record them.
        tasks_hash: hash of the meta-test tasks, in order; None if the job failed or an older version did not record it.
        family_version: version of the task family; None as above.
        tasks: number of these tasks, and of distinct and new ones; None as above.
        published: the published result that the job reproduces, if any.
        panel: panel of the sweep's picture that the job is drawn in, if any.
        meta_train_env_steps: environment steps of meta-training; None if not recorded.
        cpu_seconds: CPU time of the process; None if not recorded.
        problem: the reason that there is no result; None if there is one.
        exit_code: exit code of a recorded failure; None if the process vanished.
        log: path of the log.
    """

    name: str
    overrides: str
    choices: Mapping[str, str]
    seed: int | None
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    adaptation: Adaptation
    lifetime_returns: Sequence[float]
    tasks_hash: str | None
    family_version: str | None
    tasks: TaskCounts | None
    published: Mapping[str, Any] | None
    panel: str | None
    meta_train_env_steps: float | None
    wall_seconds: float
    cpu_seconds: float | None
    problem: str | None
    exit_code: int | None
    log: Path

    @property
    def folder(self) -> Path:
        return self.log.parent

    @cached_property
    def learning(self) -> Learning:
        """The course of its meta-training; empty if it cannot be read."""
        try:
            return read_learning(self.folder, self.adaptation)
        except (OSError, ValueError, KeyError, TypeError, StateError, csv.Error):
            return Learning()


def read_jobs(sweep_folder: Path) -> list[Job]:
    """Every job with a folder, in starting order, but those that a search ended early: neither result nor failure."""
    folders = [path for path in job_folders(sweep_folder) if summary_or_empty(path).get("status") != "pruned"]
    known: set[tuple[str, str]] = set()
    for folder in folders:
        choices = summary_or_empty(folder)
        if "algo" in choices and "env" in choices:
            known.add((str(choices["algo"]), str(choices["env"])))
    return [read_job(folder, known) for folder in sorted(folders, key=job_order)]


def job_folders(folder: Path) -> Iterator[Path]:
    """The jobs' folders at any depth, as `hydra.sweep.subdir` may have several parts."""
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        if is_job(path):
            yield path
        elif not path.name.startswith("."):
            yield from job_folders(path)


def is_job(folder: Path) -> bool:
    marks = ("summary.json", "run.json", "config.yaml", ".hydra", "train.log")
    return not folder.name.startswith(".") and any((folder / mark).exists() for mark in marks)


def job_order(folder: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", folder.name)
    return int(digits.group()) if digits else 0, folder.name


def summary_or_empty(folder: Path) -> dict[str, Any]:
    try:
        return read_summary(folder)
    except (OSError, ValueError, StateError):
        return {}


def read_job(
    folder: Path,
    known: set[tuple[str, str]],
    *,
    summary: Mapping[str, Any] | None = None,
    adaptation: Adaptation | None = None,
) -> Job:
    """A job as recorded in its folder.

    Args:
        folder: of the job.
        known: pairs of algo and env in its sweep, see `names_of`.
        summary: the content of its summary.json, if it is not to be read.
        adaptation: the content of its adaptation.csv, if it is not to be read.
    """
    summary = printable(dict(summary)) if summary is not None else summary_or_empty(folder)
    assert summary is not None
    record = mapping_or_empty(folder / "run.json")
    config = with_current_targets(mapping_or_empty(folder / "config.yaml"), warn=False)
    asked = record.get("overrides") or record_or_none(folder / ".hydra" / "overrides.yaml")
    overrides = [str(text) for text in asked] if isinstance(asked, list) else []
    recorded = {key: config[key] for key in ("seed", "budget") if config.get(key) is not None}
    if isinstance(chosen := record.get("choices"), dict):
        recorded |= chosen
    odd = odd_entry(summary, SUMMARY)
    read = adaptation or adaptation_or_problem(folder)
    if odd:
        rows: Sequence[Mapping[str, Any]] = []
        problem: str | None = f"{odd} in summary.json is not what a run writes"
    else:
        rows, problem = rows_or_problem(read, summary)
    summary = {} if odd else summary
    choices, seed = names_of(folder, recorded | summary, overrides, known)
    return Job(
        name=folder.name,
        overrides=" ".join(overrides),
        choices=choices,
        seed=seed,
        config=dict(flat({k: v for k, v in {**of_older_runs(), **config}.items() if k not in MAY_DIFFER})),
        rows=[] if problem else rows,
        adaptation=Adaptation(tested=[], validated={}) if isinstance(read, str) else read,
        lifetime_returns=[] if problem else (summary.get("lifetime_returns") or {}).get("meta_test", []),
        tasks_hash=None if problem else tasks_hash(summary),
        family_version=None if problem else family_version(summary),
        tasks=None if problem else held_out(summary),
        published=summary.get("published"),
        panel=panel if isinstance(panel := config.get("panel"), str) else None,
        meta_train_env_steps=summary.get("meta_train_env_steps"),
        wall_seconds=float(summary.get("wall_seconds") or 0.0),
        cpu_seconds=summary.get("cpu_seconds"),
        problem=problem,
        exit_code=(summary.get("error") or {}).get("exit_code"),
        log=folder / "train.log",
    )


def odd_entry(found: Any, kind: Any, name: str = "") -> str | None:
    """The first entry of a record that is of another kind; None if there is none.

    Args:
        found: as read from a file.
        kind: a type, a list of a type, or a mapping of kinds, where entries may be missing and others are of any kind.
        name: dotted name of `found`.
    """
    if found is None:
        return None
    if isinstance(kind, Mapping) and isinstance(found, dict):
        below = f"{name}." if name else ""
        odd = (odd_entry(found.get(key), each, f"{below}{key}") for key, each in kind.items())
    elif isinstance(kind, list) and isinstance(found, list):
        odd = (odd_entry(each, kind[0], name) for each in found)
    else:
        right = isinstance(kind, type) and isinstance(found, int | float if kind is float else kind)
        return None if right else name
    return next((each for each in odd if each), None)


def rows_or_problem(
    adaptation: Adaptation | str, summary: Mapping[str, Any]
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Meta-test rows of a job, or the reason that they must not be used."""
    if not summary:
        return [], "ended without a summary"
    if summary.get("status") != "complete":
        error = summary.get("error") or {}
        parts = [str(error[key]) for key in ("where", "reason") if error.get(key)]
        return [], ": ".join(parts) or str(summary.get("status"))
    if isinstance(adaptation, str):
        return [], adaptation
    rows = adaptation.tested
    if not rows:
        return [], "adaptation.csv has no meta_test rows"
    for name in [name for name in rows[0] if name != "split"]:
        if bad := next((row for row in rows if not sound(row[name])), None):
            what = "return" if name == "episode_return" else name
            return [], f"{what} of task {bad['task']} after {bad['adaptation_step']} steps is {bad[name]}"
    return rows, None


def adaptation_or_problem(folder: Path) -> Adaptation | str:
    """The content of a job's adaptation.csv, or the reason that it cannot be used."""
    try:
        return read_adaptation(folder)
    except (OSError, ValueError, KeyError, TypeError, StateError, csv.Error) as error:
        return f"adaptation.csv cannot be read: {error}"


def record_or_none(path: Path) -> Any:
    try:
        return printable(read_json(path) if path.suffix == ".json" else read_yaml(path))
    except (OSError, ValueError, StateError):
        return None


def mapping_or_empty(path: Path) -> dict[str, Any]:
    found = record_or_none(path)
    return found if isinstance(found, dict) else {}


def names_of(
    folder: Path, recorded: Mapping[str, Any], overrides: Sequence[str], known: set[tuple[str, str]]
) -> tuple[dict[str, str], int | None]:
    """Choices and seed of a job: as recorded, else by its overrides, else by its name, `<algo>_<env>_<seed>_<number>`.

    Args:
        folder: the job's folder.
        recorded: options and the seed, where the job's files name them.
        overrides: the job's command line.
        known: pairs of algo and env in this sweep, since both names may contain underscores.
    """
    given = dict(entry.lstrip("+").split("=", 1) for entry in overrides if "=" in entry)
    choices: dict[str, str] = {key: given[key] for key in CHOICES if key in given}
    seed: Any = given.get("seed")
    if parts := re.fullmatch(r"(.+)_(\d+)_\d+", folder.name):
        seed = parts[2] if seed is None else seed
        for algo, env in sorted(known):
            if parts[1] == f"{algo}_{env}":
                choices = {"algo": algo, "env": env} | choices
        if not choices.keys() >= {"algo", "env"}:
            choices = {"algo": parts[1], "env": ""} | choices
    choices = {"algo": folder.name, "env": ""} | choices
    choices |= {key: str(recorded[key]) for key in CHOICES if key in recorded}
    seed = recorded.get("seed", seed)
    return choices, int(seed) if str(seed).isdigit() else None


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings with dotted keys; lists are leaves."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
