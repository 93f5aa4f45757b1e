"""Unexpected exceptions: a report in a file, one line on the screen, exit code 1."""

import errno
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from metarl_run import __version__
from metarl_run.errors import Bug, PluginError, Pruned, ResourceError, RunError, visible
from metarl_run.system.atomic import BROKEN


def install() -> None:
    """Report exceptions that nothing else contains, in the system's temporary folder."""
    sys.excepthook = _excepthook


DISK = (*BROKEN, errno.EROFS)
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "calculation overflowed")
"""Phrases of torch's RuntimeErrors for lack of memory, on CPU and GPU; the last for sizes beyond any machine."""

SIZES = "meta_batch_chunk, meta_batch_size, episodes_per_task, env.horizon or the network; likewise those of meta_test"


class Contained(AbstractContextManager["Contained"]):
    """An unexpected exception becomes a `Bug` with a report: a `PluginError` if it passed through code of a plugin, a
    `ResourceError` if disk or memory is at fault.

    Expected errors pass, and so do the early end by a search, and a reader that left. A component that calls
    `sys.exit` must not end a sweep as if all were well, so that counts as a bug, too.

    Args:
        folder: the run folder, where the report goes; None before there is one.
        plugins: packages whose code is not ours.
        sizes: keys that the memory depends on most.
    """

    def __init__(self, folder: Path | None, plugins: Collection[str] = (), sizes: Collection[str] = ()) -> None:
        self.folder, self.plugins, self.sizes = folder, plugins, sizes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, RunError | Pruned | BrokenPipeError):
            return
        if isinstance(error, OSError) and (error.errno in DISK or _is_below(error.filename, self.folder)):
            raise ResourceError(str(error.filename or self.folder or "disk"), str(error.strerror)) from error
        first = (str(error).splitlines() or [""])[0]
        if _is_lack_of_memory(error, first):
            asked = re.search(r"[Tt]ried to allocate [\d.]+ \w+", first)
            why = asked[0][0].lower() + asked[0][1:] if asked else first or type(error).__name__
            raise ResourceError("memory", f"ran out: {why}", f"smaller {', '.join(self.sizes) or SIZES}") from error
        if isinstance(error, Exception | SystemExit):
            raise bug(error, self.folder, self.plugins) from error


def _is_below(path: object, folder: Path | None) -> bool:
    """Check that `path` is in `folder`: what the system refuses there is no bug."""
    if not isinstance(path, str) or folder is None:
        return False
    return Path(path).absolute().is_relative_to(folder.absolute())


def _is_lack_of_memory(error: BaseException, text: str) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    reported = isinstance(error, RuntimeError) and any(phrase in text for phrase in OUT_OF_MEMORY)
    return reported or isinstance(error, MemoryError)


def bug(error: BaseException, folder: Path | None, plugins: Collection[str] = ()) -> RunError:
    """The error line for `error`, whose report is written."""
    first = (str(error).splitlines() or [""])[0]
    written = f"(crash report: {report(error, folder)})"
    inside = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in plugins
    ]
    if not inside:
        return Bug("bug", f"{type(error).__name__}: {first} {written}")
    frame, line = inside[-1]
    code = frame.f_code
    return PluginError(f"{code.co_filename}:{line}", f"{type(error).__name__} in {code.co_qualname}: {first} {written}")


def report(error: BaseException, folder: Path | None) -> Path:
    """Write the whole story of `error` to a new file and return its path.

    Args:
        error: what happened.
        folder: where the report goes; None, or one that cannot be written, is the system's temporary folder.
    """
    from metarl_run.config.secret import masked, redacted

    story = [
        f"metarl-run {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"torch {getattr(sys.modules.get('torch'), '__version__', 'not imported')}",
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "arguments: " + " ".join(redacted(argument) for argument in sys.argv[1:]),
        "",
        *traceback.format_exception(error),
    ]
    text = visible(masked("\n".join(story)), lines=True)
    name = f"crash-{time.strftime('%Y%m%d-%H%M%S')}-"
    for place in (folder, None):
        try:
            with tempfile.NamedTemporaryFile(
                "w", prefix=name, suffix=".txt", dir=place, delete=False, encoding="utf-8", errors="backslashreplace"
            ) as file:
                file.write(text)
            return Path(file.name)
        except OSError:  # the run folder is full or gone: try the temporary one
            continue
    print(text, file=sys.stderr)
    return Path("-")


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(bug(error, None), file=sys.stderr)
