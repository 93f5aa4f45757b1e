"""Signals that ask a run to stop: the first is obeyed at the next safe point, the second at once.

While there is nothing to save, the first is obeyed at once, too.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from metarl_run.errors import INTERRUPTED, TERMINATED

EXIT_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
"""By signal; 128 + its number for those that schedulers send ahead of a time limit, where the system has them."""

for _name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
    if hasattr(signal, _name):
        EXIT_CODES[getattr(signal, _name)] = 128 + getattr(signal, _name)
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):
    """The run stopped at a safe point because it was asked to; everything up to there is saved."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class StopRequest:
    """Remembers that somebody asked the process to stop.

    Attributes:
        exit_code: of the signal that came first; None while none came.
        nothing_to_save: the first signal is obeyed at once, too.
        last_wish: called with the exit code before a second signal ends the process.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.nothing_to_save = False
        self.last_wish: Callable[[int], None] | None = None

    def install(self) -> None:
        """Listen to these signals from now on, unless they are ignored on purpose, as by nohup."""
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def check(self) -> None:
        """A safe point.

        Raises:
            Interrupted: if a stop was asked for.
        """
        if self.exit_code is not None:
            raise Interrupted(self.exit_code)

    @contextlib.contextmanager
    def obeyed_at_once(self) -> Iterator[None]:
        """Work that can be done again.

        Raises:
            Interrupted: whenever a stop is asked for.
        """
        self.nothing_to_save = True
        try:
            self.check()
            yield
        finally:
            self.nothing_to_save = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        code = EXIT_CODES[signal.Signals(number)]
        if self.exit_code is not None:
            for descriptor in (1, 2):
                if os.isatty(descriptor):
                    os.write(descriptor, SHOW_CURSOR)
            if self.last_wish is not None:
                with contextlib.suppress(Exception):  # whatever state the process is in, it ends
                    self.last_wish(code)
            os._exit(code)
        self.exit_code = code
        if self.nothing_to_save:
            raise Interrupted(code)
