"""The command in forks of a process that has imported everything: `call` and `Running` as in `black_box`, much sooner.

Importing takes three of the four seconds of a small run. A test whose subject is the process itself, what it imports,
its environment or how it leaves, takes `black_box`. Each process of tests has one that forks for it, in which nothing
is computed: it ends with the tests.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import select
import socket
import subprocess
import sys
import tempfile
import threading
import types
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NoReturn

import black_box
import forked

PROGRAM = [sys.executable, __file__]


def call(*arguments: str, cwd: Path, script: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end; what it said.

    Args:
        arguments: its own.
        cwd: where it runs.
        script: it runs instead of the command, which it may call.
    """
    command = Command(arguments, cwd, script)
    out, err = command.communicate()
    return subprocess.CompletedProcess(arguments, command.wait(), out, err)


class Running(black_box.Running):
    """A command under way, the leader of a process group of its own."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.process = Command(arguments, cwd)


class Command:
    """The command in a fork, with those methods of `subprocess.Popen` that are in use here.

    Attributes:
        pid: of the fork.
        returncode: as in `subprocess`; None while it is not known.
    """

    def __init__(self, arguments: Sequence[str], cwd: Path, script: Path | None = None) -> None:
        self.streams = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        self.returncode: int | None = None
        with tempfile.TemporaryFile() as request:
            request.write(json.dumps([arguments, str(cwd), script and str(script), black_box.environment()]).encode())
            request.flush()
            told, tells = os.pipe()
            socket.send_fds(server(), [b"."], [request.fileno(), *(file.fileno() for file in self.streams), tells])
            os.close(tells)
        self.told: IO[bytes] = open(told, "rb", buffering=0)  # noqa: SIM115
        self.pid = int(self.told.readline())

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self.told], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = int(self.told.readline())
            self.told.close()
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """What it said up to its end."""
        self.wait()
        said = []
        for stream in self.streams:
            stream.seek(0)
            said.append(stream.read().decode())
            stream.close()
        return said[0], said[1]


@functools.cache
def server() -> socket.socket:
    """This end of a socket to the process that forks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*PROGRAM, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env=black_box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- The process that forks ---


def serve(requests: socket.socket) -> None:
    """Fork for each request until there can be no more."""
    forked.prepare()
    while True:
        message, descriptors, *_ = socket.recv_fds(requests, 1, 4)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _attend(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def _attend(request: int, out: int, err: int, tells: int) -> NoReturn:
    """Fork the command, and tell its number and what became of it."""
    arguments, cwd, script, environment = json.loads(os.pread(request, 2**30, 0))
    os.close(request)
    pid = os.fork()
    if pid == 0:
        os.close(tells)
        main = script and partial(runpy.run_path, script, run_name="__main__")
        forked.be_the_command(arguments, cwd, [out, err], partial(_start, environment), main, _leave)
    os.write(tells, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(tells, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _start(environment: Mapping[str, str]) -> None:
    """Be as the interpreter is at its start."""
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:] = dict.fromkeys([*environment["PYTHONPATH"].split(os.pathsep), *sys.path])
    tempfile.tempdir = None
    sys.modules["__main__"] = types.ModuleType("__main__")  # processes that it starts would run this file's again


def _leave() -> None:
    """Do what the interpreter does at its end."""
    threading._shutdown()
    atexit._run_exitfuncs()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
