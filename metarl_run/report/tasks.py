"""Which held-out tasks a run had: one hash of all, how many there are, how many are distinct, and how many new."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

TaskCounts = Mapping[str, int | None]
"""`number`, `distinct`, and `new`: of the distinct ones those that meta-training cannot draw; None if not known."""


def held_out(summary: Mapping[str, Any]) -> TaskCounts | None:
    """The counts of a run's meta-test tasks; None for runs of before fingerprints of tasks were recorded."""
    counts = (summary.get("held_out_tasks") or {}).get("meta_test")
    if counts is not None:
        return dict(counts)
    hashes = (summary.get("task_hashes") or {}).get("meta_test") or []
    return {"number": len(hashes), "distinct": len(set(hashes)), "new": None} if hashes else None


def hash_of_tasks(hashes: Sequence[str]) -> str:
    """One hash of a list of tasks, equal for equal fingerprints in equal order."""
    return hashlib.blake2b(" ".join(hashes).encode(), digest_size=8).hexdigest()


def tasks_hash(summary: Mapping[str, Any]) -> str | None:
    """The hash of a run's meta-test tasks; None for runs of before fingerprints of tasks were recorded.

    Older runs list a fingerprint per task.
    """
    if found := (summary.get("tasks_hash") or {}).get("meta_test"):
        return str(found)
    hashes = (summary.get("task_hashes") or {}).get("meta_test")
    return hash_of_tasks(hashes) if hashes else None


def tasks_told(counts: TaskCounts) -> str:
    """`200 held-out tasks`, `1008 held-out tasks, 21 distinct, none of them new`, `5 held-out tasks, all alike`."""
    number, distinct, new = counts["number"], counts["distinct"], counts["new"]
    told = [f"{number} held-out task{'' if number == 1 else 's'}"]
    if distinct != number:
        told.append("all alike" if distinct == 1 else f"{distinct} distinct")
    if new is not None:
        told.append("all of them new" if new == distinct else f"{new or 'none'} of them new")
    return ", ".join(told)


def remarkable(counts: TaskCounts) -> bool:
    """Whether the counts say more than how many tasks there are."""
    return counts["distinct"] != counts["number"] or counts["new"] is not None
