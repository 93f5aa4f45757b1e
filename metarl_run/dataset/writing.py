"""Writing a dataset shard by shard: what is written stays whatever happens, and writing goes on where it stopped.

    begun.json          what is being collected, from the first moment to the last
    shard-000000.json   record of a finished shard, until the card has all of them
    dataset.json        the card, at the end

A shard is a pure function of what is collected and its index: whoever writes it, the bytes are the same.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metarl_run.config.plan import flat
from metarl_run.dataset.card import FILE, Card, ShardRecord, read_card, read_sealed, write_card, write_sealed
from metarl_run.dataset.shard import Histories, to_bytes
from metarl_run.errors import StateError
from metarl_run.system.atomic import refusals, write_atomically

BEGUN = "begun.json"
LOCK = (".lock", ".owner")

log = logging.getLogger(__name__)


def begin(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Make sure that `folder` is new, or holds what is to be collected, whole or in part.

    Args:
        folder: of the dataset, which exists.
        identity: everything that the histories depend on.

    Returns:
        True if the dataset is complete.

    Raises:
        StateError: if it holds anything else.
    """
    if (folder / FILE).exists():
        _require_same(folder, read_card(folder).config, identity)
        _tidy(folder)
        return True
    try:
        _require_same(folder, read_sealed(folder / BEGUN), identity)
    except FileNotFoundError:
        others = sorted(path.name for path in folder.iterdir() if path.name not in (*LOCK, f".{BEGUN}.tmp"))
        if others:
            raise StateError(str(folder), f"holds {others[0]}, but no dataset", "collect.folder=ANOTHER") from None
        write_sealed(folder / BEGUN, identity)
    return False


def _require_same(folder: Path, before: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    old, new = flat(before), flat(identity)
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            reason = f"holds other histories: {key}={old.get(key)}, not {new.get(key)}"
            raise StateError(str(folder), reason, "collect.folder=ANOTHER")


def shard_file(index: int) -> str:
    return f"shard-{index:06d}.safetensors"


def is_written(folder: Path, index: int) -> bool:
    """True of a shard whose file is, to the bit, what was written; one that is damaged is to be written again."""
    path = folder / shard_file(index)
    try:
        record = read_sealed(path.with_suffix(".json"))
    except (FileNotFoundError, StateError):
        return False
    if hash_of_file(path) == record["shard"]["sha256"]:
        return True
    log.warning("%s is damaged and is collected again", path)
    return False


def hash_of_file(path: Path) -> str | None:
    """Hash of a file of any size; None if there is none."""
    if not path.exists():
        return None
    with refusals(path, "read"), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_shard(
    folder: Path, index: int, histories: Histories, *, tasks: Sequence[str], first_return: float, last_return: float
) -> None:
    """Store a shard, then its record.

    Args:
        folder: of the dataset.
        index: of the shard.
        histories: those of its tasks.
        tasks: hash of each task.
        first_return, last_return: sums over histories of the return of their first and last episodes.

    Raises:
        ResourceError: if the disk refuses.
    """
    path, data = folder / shard_file(index), to_bytes(histories)
    shard = ShardRecord(
        file=path.name,
        histories=len(histories.first) - 1,
        steps=len(histories.reward),
        longest=int(histories.first.diff().max()),
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        first_return=first_return,
        last_return=last_return,
    )
    write_atomically(path, data)
    write_sealed(path.with_suffix(".json"), {"shard": asdict(shard), "tasks": [*tasks]})


def finish(folder: Path, num_shards: int, about: Mapping[str, Any]) -> Card:
    """Write the card of a dataset whose shards are all written.

    Args:
        folder: of the dataset.
        num_shards: how many there are.
        about: the fields of the card besides tasks and shards.
    """
    records = [read_sealed((folder / shard_file(index)).with_suffix(".json")) for index in range(num_shards)]
    tasks = [task for record in records for task in record["tasks"]]
    card = Card(tasks=tasks, shards=[ShardRecord(**record["shard"]) for record in records], **about)
    write_card(folder, card)
    _tidy(folder)
    return card


def _tidy(folder: Path) -> None:
    """Remove what only unfinished datasets need."""
    for path in (*folder.glob("shard-*.json"), *folder.glob(".*.tmp"), folder / BEGUN):
        with refusals(path, "remove"):
            path.unlink(missing_ok=True)
