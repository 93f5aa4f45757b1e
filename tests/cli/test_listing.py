"""`metarl-run list`: what the runs below a folder came to."""

import fcntl
import json
import os
import re

import pytest

from metarl_run.cli import listing
from metarl_run.errors import ConfigError, StateError

OUTCOMES = {
    "complete": {"meta_test": {"mean": [10.0, 20.0, 200.0]}},
    "interrupted": {"error": {"exit_code": 130}},
    "failed": {"error": {"reason": "disk"}},
}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One run of each outcome, the first the oldest."""
    monkeypatch.chdir(tmp_path)
    for age, (status, more) in enumerate(OUTCOMES.items()):
        folder = tmp_path / "outputs" / "2026-11-30" / f"a rather long name of a folder {status}"
        folder.mkdir(parents=True)
        summary = {"status": status, "algo": "maml", "env": "bandit", "seed": 7, **more}
        (folder / "summary.json").write_text(json.dumps(summary))
        os.utime(folder / "summary.json", (1.8e9 - 3 * listing.DAY + age,) * 2)
    monkeypatch.setattr("time.time", lambda: 1.8e9)
    return tmp_path / "outputs"


def shown(capsys, *argv):
    assert listing.main(argv) == 0
    return [line.split(maxsplit=4) for line in capsys.readouterr().out.splitlines() if "bandit" in line]


def test_runs_are_told_with_status_result_and_age_in_order_of_time(runs, capsys):
    rows = shown(capsys)
    assert [row[:4] for row in rows] == [[status, "maml", "bandit", "7"] for status in OUTCOMES]
    told = re.split(" {2,}", rows[0][4].rstrip())
    assert told == ["10.0 → 200", "3 d", "outputs/2026-11-30/a rather long name of a folder complete"]
    assert rows[1][4].startswith("3 d ")
    assert shown(capsys, "outputs/2026-11-30") == rows


def test_a_run_under_way_and_one_that_is_damaged(runs, capsys):
    folder = next(runs.glob("*/*interrupted"))
    assert listing.age(20.0) == "20 s"
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [row[0] for row in shown(capsys)] == ["complete", "running", "failed"]
    (folder / "summary.json").write_text("{")
    assert listing.main([]) == 0
    assert "damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "error", "reason"),
    [
        (["nowhere"], StateError, "there is no such folder"),
        (["."], StateError, "holds no runs"),
        (["--all"], ConfigError, "unrecognized"),
    ],
)
def test_what_cannot_be_listed_is_one_line(argv, error, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=reason) as caught:
        listing.main(argv)
    assert caught.value.hint.startswith("metarl-run ")
    assert capsys.readouterr() == ("", "")


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as caught:
        listing.main(["--help"])
    assert caught.value.code == 0 and capsys.readouterr().out.startswith("usage: metarl-run list")
