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
