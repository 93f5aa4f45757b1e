"""Standard output as a rich console that tolerates closed pipes and encodings that lack characters."""

import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from metarl_run.errors import visible


class QuietConsole(Console):
    """A rich console that falls silent when its pipe is closed: `metarl-run | head` must not end the run.

    Names may come from files of others: control characters in a text are shown, not obeyed.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, lines=True))

    def on_broken_pipe(self) -> None:
        self.quiet = True
        stream = cast(TextIO, self.file)
        if stream is sys.__stdout__:
            # Discard what is still buffered, or the interpreter's last flush would fail.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def has_terminal(stream: TextIO | None) -> bool:
    """Check that `stream` is a terminal that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def standard_output() -> QuietConsole:
    """A console on standard output, coloured only on a terminal."""
    terminal = has_terminal(sys.stdout)
    console = QuietConsole(
        force_terminal=terminal,
        color_system="auto" if terminal else None,
        highlight=False,
        markup=False,  # a name is no [style]
        emoji=False,
    )
    if isinstance(sys.stdout, io.TextIOWrapper) and not console.encoding.startswith("utf"):
        sys.stdout.reconfigure(errors="replace")  # a name that cannot be shown must not end the run
    return console
