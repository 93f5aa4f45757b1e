"""A job that finds itself in SLURM: whether SIGTERM means that it was cancelled or that it is preempted."""

import os
import signal
import subprocess
import threading
from types import FrameType

from metarl_run.errors import TERMINATED

SECONDS = 20.0
"""Patience with SLURM's answer; it kills half a minute after SIGTERM."""

ENDING = {"COMPLETING", "CANCELLED"}
"""States of a job that was cancelled; one that is preempted runs on until it is put back into the queue."""


def end_if_cancelled() -> None:
    """Let SIGTERM end this process with its own exit code if its job was cancelled.

    Where jobs are put back into the queue by other signals, as by submitit, SIGTERM alone is ignored: it comes ahead of
    a preemption, too, after which the job goes on from its checkpoint.
    """
    before = signal.getsignal(signal.SIGTERM)
    in_main = threading.current_thread() is threading.main_thread()
    if "SLURM_JOB_ID" not in os.environ or not callable(before) or not in_main:
        return
    otherwise = before

    def obey(number: int, frame: FrameType | None) -> None:
        if _state(os.environ["SLURM_JOB_ID"]) in ENDING:
            raise SystemExit(TERMINATED)
        otherwise(number, frame)

    signal.signal(signal.SIGTERM, obey)


def _state(job: str) -> str:
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
