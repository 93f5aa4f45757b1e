"""The benchmark behind a result: version of the task family, hash of the held-out tasks, and how many are new."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

TaskCounts = Mapping[str, int | None]
"""`number`, `distinct`, and `new`: distinct tasks that meta-training cannot draw; None if unknown."""


def held_out(summary: Mapping[str, Any]) -> TaskCounts | None:
    """The counts of a run's meta-test tasks; None for older runs without task fingerprints."""
    counts = (summary.get("held_out_tasks") or {}).get("meta_test")
    if counts is not None:
        return dict(counts) if counts.keys() >= {"number", "distinct", "new"} else None
    hashes = (summary.get("task_hashes") or {}).get("meta_test") or []
    return {"number": len(hashes), "distinct": len(set(hashes)), "new": None} if hashes else None


def hash_of_tasks(hashes: Sequence[str]) -> str:
    """One hash of a list of tasks, equal for equal fingerprints in equal order."""
    return hashlib.blake2b(" ".join(hashes).encode(), digest_size=8).hexdigest()


def tasks_hash(summary: Mapping[str, Any]) -> str | None:
    """The hash of a run's meta-test tasks; None for the oldest runs.

    Older runs list a fingerprint per task instead.
    """
    if found := (summary.get("tasks_hash") or {}).get("meta_test"):
        return str(found)
    hashes = (summary.get("task_hashes") or {}).get("meta_test")
    return hash_of_tasks(hashes) if hashes else None


def family_version(summary: Mapping[str, Any]) -> str | None:
    """The version of a run's task family; None for older runs."""
    found = summary.get("family_version")
    return None if found is None else str(found)


def benchmark_text(version: str | None, tasks: str | None) -> str:
    """`version 1 (mujoco 4.0.0), held-out tasks 61d0c5b9`; empty if both are unknown."""
    parts = [f"version {version}"] if version else []
    return ", ".join([*parts, f"held-out tasks {tasks}"] if tasks else parts)


def tasks_text(counts: TaskCounts) -> str:
    """`200 held-out tasks`, `1008 held-out tasks, 21 distinct, none of them new`, `5 held-out tasks, all alike`."""
    number, distinct, new = counts["number"], counts["distinct"], counts["new"]
    parts = [f"{number} held-out task{'' if number == 1 else 's'}"]
    if distinct != number:
        parts.append("all alike" if distinct == 1 else f"{distinct} distinct")
    if new is not None:
        parts.append("all of them new" if new == distinct else f"{new or 'none'} of them new")
    return ", ".join(parts)


def remarkable(counts: TaskCounts) -> bool:
    """Check that the counts say more than the number of tasks."""
    return counts["distinct"] != counts["number"] or counts["new"] is not None
