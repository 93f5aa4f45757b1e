"""Lines about a sweep's jobs."""

from pathlib import Path

from metarl_run.cli import progress
from metarl_run.cli.progress import SweepProgress


def test_the_time_left_is_that_of_jobs_that_were_done(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    sweep = SweepProgress(total=5, at_once=2)
    first, second = sweep.begin(), sweep.begin()
    now = 1.0
    assert sweep.end(Path("a/x_0"), first, failed=True) == "x_0 failed in 1 s · 1 of 5 · 1 failed"
    now = 20.0
    assert sweep.end(Path("a/x_1"), second, failed=False) == "x_1 done in 20 s · 2 of 5 · 1 failed · about 30 s left"
    for job in (2, 3, 4):
        begun = sweep.begin()
        now += 20.0
        line = sweep.end(Path(f"x_{job}"), begun, failed=False)
    assert line == "x_4 done in 20 s · 5 of 5 · 1 failed"


def test_where_a_queue_decides_the_pace_counts(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    sweep = SweepProgress(total=4, at_once=None)
    now = 30.0
    assert sweep.end(Path("x_0"), None, failed=False) == "x_0 done · 1 of 4 · about 1 min 30 s left"
    now = 40.0
    assert sweep.end(Path("x_1"), None, failed=False) == "x_1 done · 2 of 4 · about 40 s left"
