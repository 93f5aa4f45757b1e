"""The command as a user meets it: a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = Path(sys.executable).with_name("metarl-run")
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", "from metarl_run.command import main; main()"]


def environment(**changes: str) -> dict[str, str]:
    """This process's, with its import path, and with one thread so that tests may run side by side."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **changes}


def metarl_run(*argv: str, cwd: Path, timeout: float = 120, **changes: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end and return what it said."""
    return subprocess.run(
        [*COMMAND, *argv],
        cwd=cwd,
        env=environment(**changes),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
