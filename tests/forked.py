"""The command in forks of this process, which has imported everything: a run takes the time that it computes.

A fork may only come from a process without threads, so nothing is computed here; `prepare` imports what runs need.
"""

import contextlib
import gc
import importlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from metarl_run.system import machine

IMPORTED = (
    "torch",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "hydra._internal.hydra",
    "metarl_run.cli.command",
    "metarl_run.cli.train",
    "metarl_run.cli.sweeper",
    "metarl_run.report.sweep.sweep",
    "metarl_run.run.run",
    "metarl_run.table.reproduce",
)


_composed: dict[tuple[str, ...], Any] = {}


def nothing() -> None:
    """Preparation of a fork that is to be as the command is."""


class Ended(NamedTuple):
    """A command that came to its end; its code is negative if a signal ended it, as in `subprocess`."""

    returncode: int
    stdout: str
    stderr: str


def prepare() -> None:
    """Import what the command imports."""
    os.environ |= {"COLUMNS": "100", "TERM": "dumb", "WANDB_MODE": "offline"}
    machine.prepare()
    for name in IMPORTED:
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()


def compose(*arguments: str) -> None:
    """Compose a command line once for all forks, which takes a third of a small run."""
    from metarl_run.config.compose import compose_points

    _composed[arguments] = compose_points(arguments)


def be_the_command(
    arguments: Sequence[str],
    cwd: Path,
    streams: Sequence[int],
    first: Callable[[], None] = nothing,
    main: Callable[[], object] | None = None,
    last: Callable[[], None] = nothing,
) -> NoReturn:
    """Run the command in this fork, the leader of a process group of its own from now on, and end with its exit code.

    Args:
        arguments: of the command.
        cwd: where it runs.
        streams: descriptors that become its output and error output.
        first: called before the command.
        main: called instead of the command.
        last: called after it, unless an exception ended it.
    """
    code = 70
    try:
        os.setsid()
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(cwd)
        sys.argv = ["metarl-run", *arguments]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL if number is signal.SIGTERM else signal.default_int_handler)
        from metarl_run.cli import command, train

        composed = _composed.get(tuple(arguments))
        if composed is not None:
            real = train.compose_points
            train.compose_points = lambda argv, **named: (
                composed if tuple(argv) == tuple(arguments) and not named else real(argv, **named)
            )
        first()
        try:
            (main or command.main)()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
        last()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


class Fork:
    """The command under way in a fork, the leader of a process group of its own.

    Args:
        arguments: of the command.
        cwd: where it runs.
        first: called in the fork before the command.
    """

    def __init__(self, *arguments: str, cwd: Path, first: Callable[[], None] = nothing) -> None:
        self.streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            be_the_command(arguments, cwd, [stream.fileno() for stream in self.streams], first)

    def ended(self) -> bool:
        """Whether the command is done, without waiting; `end` is still to be called."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self) -> Ended:
        """What the command said up to its end."""
        _, status = os.waitpid(self.pid, 0)
        said = []
        for stream in self.streams:
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
            stream.close()
        return Ended(os.waitstatus_to_exitcode(status), *said)

    def kill(self) -> Ended:
        """Kill the command and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):  # it had not yet a group of its own
            os.kill(self.pid, signal.SIGKILL)
        return self.end()


def called(*arguments: str, cwd: Path, first: Callable[[], None] = nothing) -> Ended:
    """Run the command to its end."""
    return Fork(*arguments, cwd=cwd, first=first).end()
