"""Files that hold all of what was written or all of what they held before, wherever a crash strikes."""

import contextlib
import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from metarl_run.errors import ResourceError
from metarl_run.files import plain_only, read_bytes

BROKEN = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk that fails or is full, whatever folder was asked for."""
UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS)

log = logging.getLogger(__name__)
_warned: set[Path] = set()


@contextlib.contextmanager
def refusals(path: Path, doing: str) -> Iterator[None]:
    """What the operating system refuses, as an error that names the file and the operation.

    Args:
        path: file or folder concerned.
        doing: what is done to it, as a verb: `write 12 bytes`.

    Raises:
        ResourceError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(str(path), f"cannot {doing}: {error.strerror or error}") from error


def write_atomically(path: Path, data: bytes) -> Path:
    """Make `path` hold `data`. What a crash leaves behind has a name of its own, which the next attempt takes over.

    Raises:
        ResourceError: if the disk refuses; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with refusals(path, f"write {len(data)} bytes"):
        try:
            write_synced(temporary, data)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):  # on a disk that refuses this, too, the first refusal is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return path


def write_synced(path: Path, data: bytes) -> None:
    """Write a file; it is on the disk afterwards."""
    with open(path, "wb", opener=plain_only) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """The names in a folder are on the disk afterwards, if its file system can do that; not all of a cluster's can."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        if not _warned:
            _warned.add(path)
            log.warning("%s: its file system cannot sync folders, so a power cut may lose the newest files", path)
    finally:
        os.close(descriptor)


def hash_of(file: Path) -> str | None:
    """Hash of a file; None if there is none."""
    return hashlib.sha256(read_bytes(file)).hexdigest() if file.exists() else None
