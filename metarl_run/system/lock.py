"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

from metarl_run.errors import ResourceError, StateError
from metarl_run.system.atomic import UNSUPPORTED, refusals

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`; a crash leaves nothing to clean up by hand.

    On a file system without locks a warning is all that can be done.

    Raises:
        StateError: if another process is in it.
        ResourceError: if the disk refuses.
    """
    lock, owner = folder / ".lock", folder / ".owner"
    with refusals(lock, "lock"):
        descriptor = _acquire(lock)
    if descriptor is None:
        holder = "another process"
        with contextlib.suppress(OSError):
            holder = owner.read_text(encoding="utf-8") or holder
        raise StateError(str(folder), f"is in use by {holder}", "wait for it, or stop it")
    try:
        try:
            with refusals(owner, "write"):
                owner.write_text(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}", encoding="utf-8")
            yield
        except BaseException:
            with contextlib.suppress(ResourceError):  # the first error is the one to tell
                _remove(owner, lock)
            raise
        _remove(owner, lock)
    finally:
        os.close(descriptor)


def _remove(*paths: Path) -> None:
    for path in paths:
        with refusals(path, "remove"):
            path.unlink(missing_ok=True)


def _acquire(path: Path) -> int | None:
    """Descriptor of the file at `path`, which holds its lock until it is closed; None if another process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in (*UNSUPPORTED, errno.ENOLCK):
                os.close(descriptor)
                raise
            log.warning("%s: its file system has no locks, so let one process at a time run here", path.parent)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # its holder removed it in between
