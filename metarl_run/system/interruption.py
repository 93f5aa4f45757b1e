"""Signals that ask a run to stop: the first is obeyed at the next safe point, the second at once.

While there is nothing to save, the first is obeyed at once, too.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from metarl_run.errors import INTERRUPTED, TERMINATED

EXIT_CODES = {signal.SIGINT: INTERRUPTED, signal.SIGTERM: TERMINATED}
"""By signal; 128 + its number for those that schedulers send ahead of a time limit, where the system has them."""

for _name in ("SIGHUP", "SIGUSR1", "SIGUSR2"):
    if hasattr(signal, _name):
        EXIT_CODES[getattr(signal, _name)] = 128 + getattr(signal, _name)
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(BaseException):
    """The run stopped at a safe point because it was asked to; everything up to there is saved.

    Args:
        exit_code: of the process.
        by: what the signal's own handler raised, if that was another's; see `StopRequest.listening`.
    """

    def __init__(self, exit_code: int, by: BaseException | None = None) -> None:
        super().__init__(exit_code)
        self.exit_code, self.by = exit_code, by


class StopRequest:
    """Remembers that somebody asked the process to stop.

    Attributes:
        exit_code: of the signal that came first; None while none came.
        number: of that signal.
        leaves_at_once: a second signal ends the process.
        nothing_to_save: the first signal is obeyed at once, too: Interrupted is raised wherever it arrives.
        last_wish: called with the exit code before a second signal ends the process.
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.number: int = signal.SIGTERM
        self.leaves_at_once, self.nothing_to_save = True, False
        self.last_wish: Callable[[int], None] | None = None
        self.installed = False
        self.others: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.for_others: list[int] = []
        self.own: int | None = None

    def install(self) -> None:
        """Listen to these signals from now on, unless they are ignored on purpose, as by nohup."""
        self.installed = True
        for number in EXIT_CODES:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen for as long as a job of a sweep lasts, perhaps in a process that is not the command's.

        Handlers of its own, such as one that puts the job back into the queue, are called at the next safe point
        instead of at once, so that the run has saved before.

        Raises:
            Interrupted: if one of them raised.
        """
        if self.installed or threading.current_thread() is not threading.main_thread():
            outside, self.nothing_to_save = self.nothing_to_save, False
            try:
                yield
            finally:
                self.nothing_to_save = outside
            return
        before = {number: handler for number in EXIT_CODES if (handler := signal.getsignal(number)) is not None}
        self.others = {
            number: handler
            for number, handler in before.items()
            if callable(handler) and handler is not signal.default_int_handler
        }
        self.install()
        try:
            yield
            self._call_others()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.exit_code, self.own, self.installed, self.others = None, None, False, {}

    def check(self) -> None:
        """A safe point.

        Raises:
            Interrupted: if a stop was asked for.
        """
        self._call_others()
        if self.exit_code is not None and not self.for_others:
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

    def _call_others(self) -> None:
        """Do what handlers of others would have done, who may go on with the run."""
        received, self.for_others = self.for_others, []
        if received:
            self.exit_code = self.own
        for number in received:
            try:
                self.others[number](number, None)
            except BaseException as error:
                raise Interrupted(EXIT_CODES[signal.Signals(number)], by=error) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        code = EXIT_CODES[signal.Signals(number)]
        if number in self.others:
            self.for_others.append(number)
            self.exit_code, self.number = code, number
            if self.nothing_to_save:
                self._call_others()
            return
        if self.own is not None:
            if self.leaves_at_once:
                self._leave(code)
            return
        self.own = self.exit_code = code
        self.number = number
        if self.nothing_to_save:
            raise Interrupted(code)

    def _leave(self, code: int) -> None:
        """End the process."""
        for descriptor in (1, 2):
            if os.isatty(descriptor):
                os.write(descriptor, SHOW_CURSOR)
        if self.last_wish is not None:
            with contextlib.suppress(Exception):  # whatever state the process is in, it ends
                self.last_wish(code)
        os._exit(code)
