"""Where a run began: command line, code and machine."""

import contextlib
import datetime
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from metarl_run.config.secret import redacted

SECONDS = 2.0
"""Patience with git, as in a large repository on a slow disk."""

SCHEDULER = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME")
GIT = ("git", "-c", "core.fsmonitor=false")  # which would be a program that a repository names


def provenance(launcher: str | None, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Command, commit of the repository that it was given in, host, launcher and job numbers of the scheduler.

    Args:
        launcher: option of the sweep's launcher; None for a single run.
        command: arguments of the command line; None for those of this process.
    """
    return {
        "command": shlex.join(["metarl-run", *map(redacted, sys.argv[1:] if command is None else command)]),
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "host": platform.node(),
        "launcher": launcher,
        "scheduler": {name: os.environ[name] for name in SCHEDULER if name in os.environ},
        "git": repository(),
    }


def repository() -> dict[str, Any] | None:
    """Commit of the repository around the working directory, and whether tracked files were as in it; None without."""
    commit = _said("rev-parse", "HEAD")
    changed = _said("status", "--porcelain", "--untracked-files=no") if commit else None
    return None if changed is None else {"commit": commit, "clean": not changed}


def _said(*arguments: str) -> str | None:
    """Output of git; None if it fails."""
    command: Sequence[str] = (*GIT, *arguments)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout.strip()
    return None
