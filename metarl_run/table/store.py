"""Storage of an evaluation job: its identity, the returns in each part of the tasks, and its outcome.

    life.json                   everything the returns depend on; a request that differs replaces the returns
    tasks-000000-001000.npz     for these tasks: `totals` [tasks, n…], `optimum` [tasks], `seconds`, and which they
                                are: `family_version`, `tasks_hash`, both empty in older ones
    summary.json                status, error, versions

A part is a pure function of life.json and its task indices, so parts remain valid if more tasks are requested.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metarl_run.config.renamed import with_current_targets
from metarl_run.errors import StateError
from metarl_run.files import read_bytes, read_json
from metarl_run.report.folder import read_summary
from metarl_run.report.tasks import hash_of_tasks
from metarl_run.system.atomic import refusals, write_atomically
from metarl_run.system.json_text import json_text
from metarl_run.table.job import EvaluationJob


@dataclass(frozen=True, kw_only=True)
class Result:
    """Stored results of a job.

    Attributes:
        totals: the sum of rewards over the first n episodes, `[tasks, n…]`; None unless the job is complete.
        optimum: the planned value of one episode, `[tasks]`; empty without a planning discount.
        seconds: time that the parts took.
        tasks_done: number of finished tasks.
        error: the failure: `where`, `reason`, `exit_code`; None without one.
        family_versions: version of the task family, as far as it is recorded; several if parts differ.
        tasks_hash: hash of the tasks, in order; None while some are missing, or were stored by older software.
    """

    totals: np.ndarray | None
    optimum: np.ndarray
    seconds: float
    tasks_done: int
    error: Mapping[str, Any] | None
    family_versions: Sequence[str] = ()
    tasks_hash: str | None = None

    @property
    def complete(self) -> bool:
        return self.totals is not None


def prepare(folder: Path, job: EvaluationJob) -> None:
    """Prepare `folder` for `job` and delete parts of any other job."""
    with refusals(folder, "prepare"):
        folder.mkdir(parents=True, exist_ok=True)
        if stored_identity(folder) is None or not _serves(folder, job):
            for path in folder.glob("tasks-*.npz"):
                path.unlink()
            record = {**job.identity, "episodes": list(job.episodes)}
            write_atomically(folder / "life.json", _json(record))
        (folder / "summary.json").unlink(missing_ok=True)


def write_part(folder: Path, part: range, found: Mapping[str, Any]) -> None:
    """Store the returns in the tasks of one part: the arrays named above."""
    data = io.BytesIO()
    np.savez(data, **found)
    write_atomically(part_file(folder, part), data.getvalue())


def write_outcome(folder: Path, outcome: Mapping[str, Any]) -> None:
    """Store the outcome of the job."""
    write_atomically(folder / "summary.json", _json(outcome))


def read_part(folder: Path, part: range) -> dict[str, np.ndarray] | None:
    """Stored returns of one part; None if the file is missing or damaged, so that the part must be run."""
    try:
        data = io.BytesIO(read_bytes(part_file(folder, part)))
        with np.load(data, allow_pickle=False) as found:
            older = dict.fromkeys(("family_version", "tasks_hash"), np.array(""))
            return older | {name: found[name] for name in {"totals", "optimum", "seconds"} | found.keys()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, StateError):
        return None


def part_file(folder: Path, part: range) -> Path:
    return folder / f"tasks-{part.start:06}-{part.stop:06}.npz"


def tasks_done(folder: Path, job: EvaluationJob) -> int:
    """Number of finished tasks, judged by which files exist: fast, for progress displays."""
    return sum(len(part) for part in job.parts if part_file(folder, part).exists())


def read(folder: Path, job: EvaluationJob) -> Result:
    """Results in `folder` for `job`; those stored for any other job are ignored."""
    stored = stored_identity(folder)
    if stored is None or not _serves(folder, job):
        return Result(totals=None, optimum=np.empty(0), seconds=0.0, tasks_done=0, error=None)
    columns = [stored["episodes"].index(n) for n in job.episodes]
    totals, optimum, versions, hashes, seconds = [], [], [], [], 0.0
    for part in job.parts:
        found = read_part(folder, part)
        if found is not None:
            totals.append(found["totals"][:, columns])
            optimum.append(found["optimum"])
            versions.append(str(found["family_version"]))
            hashes.append(str(found["tasks_hash"]))
            seconds += float(found["seconds"])
    whole = len(totals) == len(job.parts)
    return Result(
        totals=np.concatenate(totals) if whole else None,
        optimum=np.concatenate(optimum) if whole else np.empty(0),
        seconds=seconds,
        tasks_done=sum(map(len, totals)),
        family_versions=list(dict.fromkeys(filter(None, versions))),
        tasks_hash=hash_of_tasks(hashes) if whole and all(hashes) else None,
        error=None if whole else _error(folder),
    )


def _serves(folder: Path, job: EvaluationJob) -> bool:
    """Check that `folder` holds the results of `job`, or of longer lifetimes that begin with its own."""
    stored = dict(stored_identity(folder) or {})
    episodes = stored.pop("episodes", [])
    return stored == job.identity and set(job.episodes) <= set(episodes)


def stored_identity(folder: Path) -> dict[str, Any] | None:
    """The identity of the returns in `folder`, and their `episodes`; None if nothing is stored there."""
    try:
        found = read_json(folder / "life.json")
    except (OSError, ValueError, StateError):
        return None
    if not isinstance(found, dict):
        return None
    found.pop("threads", None)  # of older ones: it ordered sums
    return with_current_targets(found, warn=False)


def _error(folder: Path) -> Mapping[str, Any] | None:
    try:
        error = read_summary(folder).get("error")
    except (OSError, ValueError, StateError):
        return None
    return error if isinstance(error, dict) else None


def _json(record: Mapping[str, Any]) -> bytes:
    return json_text(record, ensure_ascii=False).encode()
