"""Forked processes: what becomes of one is reported, and the process that started it goes on."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Collection
from multiprocessing.connection import Connection, wait
from typing import Any

from metarl_run.errors import TERMINATED, ResourceError
from metarl_run.system.interruption import Interrupted

PATIENCE = 5.0
"""Seconds that a process has to exit once it has answered."""

PR_SET_PDEATHSIG = 1
"""Option of Linux' prctl: the signal that a process gets when its parent dies."""


class Died(ResourceError):
    """A process that ended without an answer."""


class Child:
    """A function that is called in a fork of this process: everything imported so far is there already.

    No thread may compute at that moment, since only the calling one exists in the fork. The fork ends with this
    process, however that ends, and it reads nothing from standard input.

    Args:
        function: what is called; its result must be picklable.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, answers = context.Pipe(duplex=False)
        self.process = context.Process(target=_answer, args=(function, answers))
        self.process.start()
        answers.close()

    def signal(self, number: int) -> None:
        if self.process.exitcode is None and self.process.pid is not None:
            os.kill(self.process.pid, number)

    def ended(self) -> bool:
        """True once `result` need not wait."""
        return self.pipe.poll() or self.process.exitcode is not None

    def result(self) -> Any:
        """What the function returned.

        Raises:
            BaseException: that the function raised, Interrupted among others.
            Died: if it raised and returned nothing.
        """
        try:
            returned, value = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"left with exit code {code} too early"
            memory = ", perhaps for lack of memory" if -code == signal.SIGKILL else ""
            raise Died("process", how + memory) from None
        finally:
            self.close()
        if returned:
            return value
        raise value

    def close(self) -> None:
        """Make sure that the process is gone."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.pipe.close()


def wait_for_any(children: Collection[Child], seconds: float) -> list[Child]:
    """The children that ended, after at most so many seconds if none has."""
    wait([child.pipe for child in children], timeout=seconds)
    return [child for child in children if child.ended()]


def leave_with_parent() -> None:
    """Exit at once when the parent process has died: what was saved is on disk, and nobody is left to report to."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0:
        if os.getppid() != parent.pid:  # it has died already
            os._exit(TERMINATED)
        return

    def watch() -> None:
        parent.join()
        os._exit(TERMINATED)

    threading.Thread(target=watch, daemon=True).start()


def die_with_parent() -> None:
    """Be killed when the process that started this one ends, where the system can do so."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(TERMINATED)


def _answer(function: Callable[[], Any], answers: Connection) -> None:
    leave_with_parent()
    try:
        answer: tuple[bool, Any] = True, function()
    except (Exception, SystemExit, Interrupted) as error:
        error.add_note("".join(traceback.format_exception(error)))  # which does not travel otherwise
        answer = False, error
    answers.send(answer)
