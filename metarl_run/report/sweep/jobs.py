"""The jobs of a sweep, read from their folders: what each was about, and its result or why it has none."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metarl_run.config.renamed import with_today_names
from metarl_run.config.settings import keys_that_affect
from metarl_run.report.folder import read_rows, read_summary
from metarl_run.report.tasks import TaskCounts, held_out, tasks_hash

MAY_DIFFER = ("seed", *keys_that_affect("nothing", "indirectly", "monitoring"))
"""Keys in which jobs of one group may differ: all but the seed do not matter to the result."""

CHOICES: tuple[str, ...] = ("algo", "env", "learner", "network", "experiment", "budget")
"""What is chosen by name."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one job's folder tells.

    Attributes:
        name: of the folder.
        overrides: as on the command line, if they were recorded.
        choices: those of `CHOICES` that are known.
        config: every configuration key, dotted, without those in `MAY_DIFFER`.
        rows: its meta-test rows; empty if it failed.
        lifetime_returns: of its meta-test tasks; empty if it failed, or is of before they were recorded.
        tasks_hash: of its meta-test tasks, in order; None if it failed, or is of before fingerprints were recorded.
        tasks: how many these are, and of them distinct and new ones; None as above.
        published: the published result that it reproduces, if any.
        panel: of the sweep's picture in which it is drawn, if it has one.
        meta_train_env_steps: environment steps of its meta-training; None if it is of before they were recorded.
        cpu_seconds: of its process; None if it is of before they were recorded.
        problem: why it has no result; None if it has one.
        exit_code: of a failure that was told; None if it vanished without a word.
        log: where to read on.
    """

    name: str
    overrides: str
    choices: Mapping[str, str]
    seed: int | None
    config: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    lifetime_returns: Sequence[float]
    tasks_hash: str | None
    tasks: TaskCounts | None
    published: Mapping[str, Any] | None
    panel: str | None
    meta_train_env_steps: float | None
    wall_seconds: float
    cpu_seconds: float | None
    problem: str | None
    exit_code: int | None
    log: Path


def read_jobs(sweep_folder: Path) -> list[Job]:
    """Every job that has a folder, in the order in which they were started."""
    folders = [path for path in sweep_folder.iterdir() if path.is_dir() and is_job(path)]
    known: set[tuple[str, str]] = set()
    for folder in folders:
        choices = summary_or_nothing(folder)
        if "algo" in choices and "env" in choices:
            known.add((choices["algo"], choices["env"]))
    return [read_job(folder, known) for folder in sorted(folders, key=job_order)]


def is_job(folder: Path) -> bool:
    marks = ("summary.json", "run.json", "config.yaml", ".hydra", "train.log")
    return not folder.name.startswith(".") and any((folder / mark).exists() for mark in marks)


def job_order(folder: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", folder.name)
    return int(digits.group()) if digits else 0, folder.name


def summary_or_nothing(folder: Path) -> dict[str, Any]:
    try:
        return read_summary(folder)
    except (OSError, ValueError):
        return {}


def read_job(folder: Path, known: set[tuple[str, str]]) -> Job:
    summary = summary_or_nothing(folder)
    record = mapping_or_nothing(folder / "run.json")
    config = with_today_names(mapping_or_nothing(folder / "config.yaml"), warn=False)
    overrides = record.get("overrides") or yaml_or_nothing(folder / ".hydra" / "overrides.yaml") or []
    recorded = {key: config[key] for key in ("seed", "budget") if config.get(key) is not None}
    recorded |= record.get("choices", {}) | summary
    choices, seed = names_of(folder, recorded, overrides, known)
    rows, problem = rows_or_problem(folder, summary)
    return Job(
        name=folder.name,
        overrides=" ".join(overrides),
        choices=choices,
        seed=seed,
        config=dict(flat({key: value for key, value in config.items() if key not in MAY_DIFFER})),
        rows=[] if problem else rows,
        lifetime_returns=[] if problem else (summary.get("lifetime_returns") or {}).get("meta_test", []),
        tasks_hash=None if problem else tasks_hash(summary),
        tasks=None if problem else held_out(summary),
        published=summary.get("published"),
        panel=config.get("panel"),
        meta_train_env_steps=summary.get("meta_train_env_steps"),
        wall_seconds=float(summary.get("wall_seconds") or 0.0),
        cpu_seconds=summary.get("cpu_seconds"),
        problem=problem,
        exit_code=(summary.get("error") or {}).get("exit_code"),
        log=folder / "train.log",
    )


def rows_or_problem(folder: Path, summary: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """A job's meta-test rows, or why they must not be used."""
    if not summary:
        return [], "ended without a summary"
    if summary.get("status") != "complete":
        error = summary.get("error") or {}
        told = [str(error[key]) for key in ("where", "reason") if error.get(key)]
        return [], ": ".join(told) or str(summary.get("status"))
    try:
        rows = read_rows(folder, "meta_test")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [], f"adaptation.csv cannot be read: {error}"
    if not rows:
        return [], "adaptation.csv has no meta_test rows"
    bad = next((row for row in rows if not math.isfinite(row["episode_return"])), None)
    if bad:
        return [], f"return of task {bad['task']} after {bad['adaptation_step']} steps is {bad['episode_return']}"
    return rows, None


def yaml_or_nothing(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def mapping_or_nothing(path: Path) -> dict[str, Any]:
    found = yaml_or_nothing(path)
    return found if isinstance(found, dict) else {}


def names_of(
    folder: Path, recorded: Mapping[str, Any], overrides: Sequence[str], known: set[tuple[str, str]]
) -> tuple[dict[str, str], int | None]:
    """What a job was about: as recorded, else by its overrides, else by its name, `<algo>_<env>_<seed>_<number>`.

    Args:
        recorded: options of the groups and the seed, as far as the job's files name them.
        known: pairs of algo and env in this sweep, since both names may hold underscores.
    """
    told = dict(entry.lstrip("+").split("=", 1) for entry in overrides if "=" in entry)
    choices: dict[str, str] = {key: told[key] for key in CHOICES if key in told}
    seed: Any = told.get("seed")
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
    """The leaves of nested mappings with dotted keys; lists are leaves."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
