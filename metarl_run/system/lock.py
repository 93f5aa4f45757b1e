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
from metarl_run.files import plain_only, read_text
from metarl_run.system.atomic import UNSUPPORTED, refusals

IN_USE = "is in use by"
"""Beginning of the reason that a folder is refused for."""

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of `folder`, which is made if need be; a crash leaves nothing to clean up by hand.

    On a file system without locks a warning is all that can be done.

    Raises:
        StateError: if another process is in it.
        ResourceError: if the disk refuses.
    """
    with refusals(folder, "make"):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor, owner = _acquired(folder), folder / ".owner"
    try:
        try:
            with refusals(owner, "write"), open(owner, "w", encoding="utf-8", opener=plain_only) as file:
                file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            yield
        except BaseException:
            with contextlib.suppress(ResourceError):  # the first error is the one to tell
                remove_lock(folder)
            raise
        remove_lock(folder)
    finally:
        os.close(descriptor)


def remove_lock(folder: Path) -> None:
    """Remove the files of this process's lock; the lock itself goes with the process."""
    for name in (".owner", ".lock"):
        with refusals(folder / name, "remove"):
            (folder / name).unlink(missing_ok=True)


def require_free(folder: Path) -> None:
    """Raise StateError if another process is in `folder`."""
    if (folder / ".lock").exists():
        os.close(_acquired(folder))


def is_held(folder: Path) -> bool:
    """True if another process is in `folder`, as far as it can be known."""
    try:
        require_free(folder)
    except StateError:
        return True
    except ResourceError:
        return False
    return False


def _acquired(folder: Path) -> int:
    """Descriptor of the folder's lock, which is held until it is closed."""
    lock, owner = folder / ".lock", folder / ".owner"
    with refusals(lock, "lock"):
        descriptor = _acquire(lock)
    if descriptor is None:
        holder = "another process"
        with contextlib.suppress(OSError):
            holder = read_text(owner) or holder
        raise StateError(str(folder), f"{IN_USE} {holder}", "wait for it, or stop it")
    return descriptor


def _acquire(path: Path) -> int | None:
    """Descriptor of the file at `path`, which holds its lock until it is closed; None if another process has it."""
    while True:
        with refusals(path, "open"):
            descriptor = plain_only(path, os.O_RDWR | os.O_CREAT)
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
