"""Time until the command answers: duration of separate processes."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.timing import PROJECT, Case, Work

SCRIPT = Path(sys.executable).with_name("metarl-run")
COMMAND = (
    [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", "from metarl_run.cli.command import main; main()"]
)
CALLS = {
    "--version": ([*COMMAND, "--version"], 0),
    "--help": ([*COMMAND, "--help"], 0),
    "a bad configuration": ([*COMMAND, "algo=x"], 2),
    "import": ([sys.executable, "-c", "import metarl_run.run.run"], 0),
}
"""Commands, and their required exit codes."""


def cases(tiny: bool) -> Iterator[Case]:
    for name, (command, code) in CALLS.items():
        if not tiny or name == "--version":
            yield Case("startup", name, {}, None, {PROJECT: partial(project, command, code)})


def project(command: list[str], code: int) -> Work:
    def work() -> None:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if ended.returncode != code:
            raise RuntimeError(f"{command} must exit with {code}, got {ended.returncode}: {ended.stderr}")

    return work
