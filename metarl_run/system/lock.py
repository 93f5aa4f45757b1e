"""One process at a time in a folder."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from metarl_run.errors import StateError
from metarl_run.files import plain_only, read_text


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`; a crash leaves nothing to clean up by hand."""
    lock = _acquired(folder)
    try:
        with open(folder / ".owner", "w", encoding="utf-8", opener=plain_only) as file:
            file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        remove_lock(folder)
        lock.release()


def remove_lock(folder: Path) -> None:
    """Remove the files of this process's lock; the lock itself goes with the process."""
    for name in (".owner", ".lock"):
        (folder / name).unlink(missing_ok=True)


def require_free(folder: Path) -> None:
    """Raise StateError if another process is in `folder`."""
    if (folder / ".lock").exists():
        _acquired(folder).release()


def _acquired(folder: Path) -> FileLock:
    lock, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = read_text(owner) if owner.exists() else "another process"
        raise StateError(str(folder), f"is in use by {holder}", "wait for it, or stop it") from error
    return lock
