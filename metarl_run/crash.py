"""What becomes of an exception that nobody expected: a report in a file, one line on the screen, exit code 1."""

import platform
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from types import TracebackType

from metarl_run import __version__


def install(folder: Path | None = None) -> None:
    """Report uncaught exceptions from now on.

    Args:
        folder: where reports go, once there is a run folder; before that, the system's temporary folder.
    """
    sys.excepthook = partial(_told, folder)


def report(error: BaseException, folder: Path | None) -> Path:
    """Write the whole story of `error` to a new file in `folder` and return its path."""
    from metarl_run.config.secret import redacted

    story = [
        f"metarl-run {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"torch {getattr(sys.modules.get('torch'), '__version__', 'not imported')}",
        time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "arguments: " + " ".join(redacted(argument) for argument in sys.argv[1:]),
        "",
        *traceback.format_exception(error),
    ]
    text = "\n".join(story)
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


def _told(folder: Path | None, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    path = report(error, folder)
    first = (str(error).splitlines() or [""])[0]
    print(f"error: bug: {kind.__name__}: {first} (crash report: {path})", file=sys.stderr)
