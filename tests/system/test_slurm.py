"""SIGTERM in a job of SLURM: cancelled, or preempted."""

import os
import signal

import pytest

from metarl_run.system.slurm import end_if_cancelled


@pytest.mark.parametrize(
    ("state", "ends"), [("COMPLETING", True), ("CANCELLED", True), ("RUNNING", False), ("", False)]
)
def test_only_a_job_that_was_cancelled_ends(state, ends, tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text(f"#!/bin/sh\necho {state}\n")
    (tmp_path / "squeue").chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        end_if_cancelled()
        if ends:
            with pytest.raises(SystemExit) as left:
                signal.raise_signal(signal.SIGTERM)
            assert left.value.code == 143 and not seen
        else:
            signal.raise_signal(signal.SIGTERM)
            assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_elsewhere_nothing_changes(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    end_if_cancelled()
    assert signal.getsignal(signal.SIGTERM) is before
