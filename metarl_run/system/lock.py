"""One process at a time in a folder."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from metarl_run.errors import StateError


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`; a crash leaves nothing to clean up by hand."""
    lock, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = owner.read_text(encoding="utf-8") if owner.exists() else "another process"
        raise StateError(str(folder), f"is in use by {holder}", "wait for it, or stop it") from error
    try:
        owner.write_text(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
