"""Runs and sweeps from Python: the command in a process of its own, so that nothing of this one is touched."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from metarl_run import errors
from metarl_run.api.result import Result, Sweep, read
from metarl_run.config.grammar import argument
from metarl_run.errors import DONE, SWEEP_HAS_FAILURES, ConfigError, ResourceError, RunError


def run(arguments: Sequence[str], *, show: bool = True) -> Result | Sweep:
    """Do what the command does with these arguments: a run, a resumed run or a sweep; wait for its end.

    It works in notebooks and threads, beside Hydra, and as often as wanted. An interruption of this process makes the
    run save and stop first.

    Args:
        arguments: of the command, such as `["algo=maml", "env=cartpole_family"]`.
        show: print what it prints.

    Raises:
        RunError: in the command's own words, see `metarl_run.errors`; of a sweep whose jobs failed in part, the result
            tells which.
    """
    if isinstance(arguments, str):
        raise ConfigError("arguments", f"must be a list of texts, got {arguments!r}", f"[{arguments!r}]")
    read_end, write_end = os.pipe()
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "metarl_run.api.child", str(write_end), *arguments],
            stdin=subprocess.PIPE,  # closed by the end of this process, whatever ends it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[write_end],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"},
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,  # a terminal's Ctrl-C comes from here, once
        )
    finally:
        os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as answers, process:
        try:
            last = _shown(process, show)
        except BaseException:  # an interruption, or a closed output: the run saves before it goes on up
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(KeyboardInterrupt):
                _shown(process, show)
            process.kill()
            raise
        answer = {key: value for line in answers for key, value in json.loads(line).items()}
        code = process.wait()
    if "error" in answer:
        kind, *words = answer["error"]
        raise _error(kind, *words)
    if code not in (DONE, SWEEP_HAS_FAILURES) or "folder" not in answer:
        hint = f"metarl_run.run([{argument('resume', answer['folder'])!r}])" if "folder" in answer else None
        raise ResourceError("run", f"ended with exit code {code}: {last}", hint)
    return read(Path(answer["folder"]))


def _shown(process: "subprocess.Popen[str]", show: bool) -> str:
    """Pass on what a process says up to its end; the last line."""
    assert process.stdout is not None
    line = ""
    for line in process.stdout:
        if show:
            print(line, end="", flush=True)
    return line.strip()


def _error(kind: str, where: str, reason: str, hint: str | None) -> RunError:
    """The error of another process."""
    made: RunError = getattr(errors, kind)(where, reason, hint)
    return made
