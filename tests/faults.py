"""Failures and kills at chosen file operations of this process.

Every operation that changes what is below a folder passes through `Operations`, which counts it: those of `os`, and
those of the files that `open` returns, down to what their buffers hand to the system.
"""

import builtins
import io
import mmap
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

KILLED = ("before", "after", "within")
"""When the process is killed: `within` is after half of what was to be written, or before the operation."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Operations:
    """Counts the operations below `folder` of this process and of its forks, and lets one of them go wrong.

    Args:
        folder: absolute; the rest of the file system is left alone.
        at: number of the operation that goes wrong, from 0; None for none.
        how: number of an error, or one of `KILLED`.
        lasting: later operations fail, too, as on a disk that stays full; only with an error.
        report: called with the kind and the path of each operation.
    """

    def __init__(
        self,
        folder: Path,
        at: int | None = None,
        how: int | str = "before",
        *,
        lasting: bool = False,
        report: Callable[[str, str], None] = lambda kind, path: None,
    ) -> None:
        self.folder, self.at, self.how, self.lasting, self.report = str(folder), at, how, lasting, report
        self.shared = memoryview(mmap.mmap(-1, 8)).cast("q")
        """Operations so far."""
        self.paths: dict[int, str] = {}

    def __call__(
        self, kind: str, path: str, operation: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Do `operation`, unless it is its turn to go wrong."""
        number = self.shared[0]
        self.shared[0] += 1
        self.report(kind, path)
        if self.at is None or not (number == self.at or (self.lasting and number > self.at)):
            return operation()
        if isinstance(self.how, int):
            named = kind not in ("write", "fsync", "fdatasync", "ftruncate")  # by the system, in its error
            raise OSError(self.how, os.strerror(self.how), path if named else None)
        try:
            if self.how == "after":
                operation()
            elif self.how == "within" and half is not None:
                half()
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def concerns(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Absolute path of what is concerned; None if it is not below the folder."""
        if isinstance(path, int):
            found = self.paths.get(path)
        else:
            base = self.paths.get(dir_fd, os.getcwd()) if dir_fd is not None else os.getcwd()
            found = os.path.normpath(os.path.join(base, os.fsdecode(path)))
        return found if found is not None and (found + os.sep).startswith(self.folder + os.sep) else None

    def install(self) -> None:
        """Pass all operations of this process through this object, for good."""
        for name in ("mkdir", "rmdir", "unlink", "remove", "truncate", "ftruncate", "fsync", "fdatasync", "rename"):
            setattr(os, name, self._changing(name, getattr(os, name)))
        os.replace = self._changing("replace", os.replace)
        self._opening()

    def _changing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Any, *others: Any, **named: Any) -> Any:
            found = self.concerns(path, named.get("dir_fd"))
            if found is None or (name == "mkdir" and os.path.isdir(found)):  # it is asked for by `exist_ok` alone
                return real(path, *others, **named)
            return self(name, found, lambda: real(path, *others, **named))

        return changed

    def _opening(self) -> None:
        real_open, real_close, real_io = os.open, os.close, io.open
        operations = self

        def open_descriptor(path: Any, flags: int, *others: Any, **named: Any) -> int:
            found = self.concerns(path, named.get("dir_fd"))

            def do() -> int:
                return real_open(path, flags, *others, **named)

            descriptor = do() if found is None or not flags & WRITING else self("open", found, do)
            if found is not None:
                self.paths[descriptor] = found
            return descriptor

        def close_descriptor(descriptor: int) -> None:
            self.paths.pop(descriptor, None)
            real_close(descriptor)

        class Raw(io.FileIO):
            """A file whose writes count."""

            def write(self, data: Any, /) -> int:
                return int(
                    operations(
                        "write",
                        operations.paths[self.fileno()],
                        lambda: super(Raw, self).write(data),
                        lambda: super(Raw, self).write(bytes(data)[: len(data) // 2]),
                    )
                )

            def truncate(self, size: int | None = None, /) -> int:
                path = operations.paths[self.fileno()]
                return int(operations("ftruncate", path, lambda: super(Raw, self).truncate(size)))

            def close(self) -> None:
                if not self.closed:
                    operations.paths.pop(self.fileno(), None)
                super().close()

        def open_file(
            file: Any,
            mode: str = "r",
            buffering: int = -1,
            encoding: str | None = None,
            errors: str | None = None,
            newline: str | None = None,
            closefd: bool = True,
            opener: Any = None,
        ) -> Any:
            found = None if isinstance(file, int) else self.concerns(file)
            if found is None or not set(mode) & set("wax+"):
                return real_io(file, mode, buffering, encoding, errors, newline, closefd, opener)
            plain = mode.replace("b", "").replace("t", "")
            # An opener calls os.open, which counts
            raw = Raw(file, plain, opener=opener) if opener else self("open", found, lambda: Raw(file, plain))
            self.paths[raw.fileno()] = found
            if buffering == 0:
                return raw
            buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return buffered
            return io.TextIOWrapper(buffered, encoding, errors, newline)

        os.open, os.close = open_descriptor, close_descriptor
        io.open = builtins.open = open_file
