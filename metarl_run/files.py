"""Files that may come from elsewhere, as those of a run folder: opened without following links, read within limits.

The way to a folder may lead through links, as users link their outputs; inside a run folder there are none, nor FIFOs
or devices, so that reading cannot hang and writing cannot reach other files.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from metarl_run.errors import StateError

LARGEST_TEXT = 256 * 2**20
"""Bytes of a text file. A summary of a million tasks has 20 MB."""

SEAL = "sha256"
"""Key of a record's own hash."""

DEEPEST = 50
"""Levels of a record; those of the project have 6."""

PATHS_OF_RUN = ("*", ".hydra/*", "checkpoints/**/*")
"""Entries of a run folder that may be neither links nor anything but files and folders."""

FILES_OF_RUN = re.compile(r"\.(lock|owner)|.*\.(json|yaml|csv|log|png|svg|pdf|html|gif|mp4|tmp)")
"""Names in a run folder that are no folders."""


def plain_only(path: str | os.PathLike[str], flags: int) -> int:
    """Opener for `open`: the descriptor of a regular file, which is opened without waiting.

    Raises:
        StateError: if `path` is a link, a folder, a FIFO or a device.
    """
    safe = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags | safe, 0o666)
    except OSError:
        with contextlib.suppress(OSError):
            _require_plain(path, os.lstat(path).st_mode)  # the reason, where there is a better one
        raise
    try:
        _require_plain(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_plain(path: str | os.PathLike[str], mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise StateError(str(path), f"must be a plain file, got {_kind(mode)}", "put the file itself in its place")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def refuse_links(folder: Path) -> None:
    """Raise StateError if an entry of the run folder `folder` is a link, or neither a file nor a folder.

    What is in its folder wandb is left to wandb, which links logs from elsewhere: nothing here opens it.
    """
    for pattern in PATHS_OF_RUN:
        for path in sorted(folder.glob(pattern)):
            mode = path.lstat().st_mode
            may_be_folder = path.parent != folder or not FILES_OF_RUN.fullmatch(path.name)
            if not (stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and may_be_folder)):
                raise StateError(str(path), f"must be a file or folder, got {_kind(mode)}", "put what it names there")


def read_bytes(path: Path, *, largest: int = LARGEST_TEXT, first: int | None = None) -> bytes:
    """The content of a regular file of at most `largest` bytes, or the `first` bytes of one of any size.

    Raises:
        StateError: if it is another kind of file, or larger.
        OSError: if it cannot be read.
    """
    with open(path, "rb", opener=plain_only) as file:
        size = os.fstat(file.fileno()).st_size
        if first is not None:
            return file.read(min(first, size))
        if size > largest:
            raise StateError(str(path), f"must have at most {largest} bytes, got {size}")
        return file.read(size)


def read_text(path: Path, *, largest: int = LARGEST_TEXT) -> str:
    """The UTF-8 text of such a file; ValueError if it has another encoding."""
    return read_bytes(path, largest=largest).decode("utf-8")


def read_json(path: Path) -> Any:
    """The record in such a file.

    Raises:
        StateError, OSError: see `read_bytes`.
        ValueError: if it is not strict JSON, nested too deeply, or holds a number that is not finite.
    """
    try:
        record = json.loads(read_bytes(path), parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    require_shallow(record)
    return record


def require_shallow(record: Any) -> None:
    """Raise ValueError if functions that call themselves for each level of `record` might not come to an end."""
    level: list[Any] = [[record]]
    for _ in range(DEEPEST):
        entries = (entry for value in level for entry in (value.values() if isinstance(value, dict) else value))
        level = [entry for entry in entries if isinstance(entry, dict | list)]
        if not level:
            return
    raise ValueError(f"is nested more than {DEEPEST} levels deep")


def seal(record: Mapping[str, Any]) -> str:
    """Hash of a record, which it holds under `SEAL` where it is stored."""
    return hashlib.sha256(json.dumps(record, indent=1, allow_nan=False).encode()).hexdigest()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"must hold finite numbers, got {name}")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"must hold finite numbers, got {text[:20]}")
    return number
