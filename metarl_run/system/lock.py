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
    lock, owner = FileLock(folder / ".lock"), folder / ".owner"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = read_text(owner) if owner.exists() else "another process"
        raise StateError(str(folder), f"is in use by {holder}", "wait for it, or stop it") from error
    try:
        with open(owner, "w", encoding="utf-8", opener=plain_only) as file:
            file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        yield
    finally:
        owner.unlink(missing_ok=True)
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()
