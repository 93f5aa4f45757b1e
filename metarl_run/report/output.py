"""Standard output as a rich console that never ends a run: its reader may go away, its encoding may lack characters."""

import io
import os
import sys
from typing import TextIO, cast

from rich.console import Console


class QuietConsole(Console):
    """A rich console that falls silent when nobody reads it any more: `metarl-run | head` must not end the run."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        stream = cast(TextIO, self.file)
        if stream is sys.__stdout__:
            # What is still in its buffer goes nowhere, or the interpreter's last flush would fail.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def has_terminal(stream: TextIO | None) -> bool:
    """Someone looks, at a terminal that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def standard_output() -> QuietConsole:
    """A console on standard output, in colour only on a terminal."""
    terminal = has_terminal(sys.stdout)
    console = QuietConsole(force_terminal=terminal, color_system="auto" if terminal else None, highlight=False)
    if isinstance(sys.stdout, io.TextIOWrapper) and not console.encoding.startswith("utf"):
        sys.stdout.reconfigure(errors="replace")  # a name that cannot be shown must not end the run
    return console
