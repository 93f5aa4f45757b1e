"""Stop a run however you like: resumed, it is the run that was never stopped."""

import json
import os
import random
import re
import resource
import signal
import time

import black_box
import pytest
import yaml
from black_box import LONG, SMALL, environment, iterations_done, left_behind, record, summary
from forks import Running, call

from metarl_run.files import SEAL, seal

TOTAL = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    done = black_box.call(*LONG, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == 0, done.stderr
    return record(folder / "run")


def start(tmp_path):
    return Running(*LONG, "hydra.run.dir=run", cwd=tmp_path)


def finish(tmp_path, whole):
    done = call("resume=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path, whole)


def assert_whole(tmp_path, whole):
    assert record(tmp_path / "run") == whole
    assert left_behind(tmp_path / "run") == []
    assert summary(tmp_path / "run")["status"] == "complete"


SCHEDULERS = {number: 128 + number for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)}
"""Sent by schedulers and terminals ahead of the end."""
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, **SCHEDULERS}


def test_a_signal_saves_and_leaves(tmp_path, whole):
    """One signal after the other stops the run, which goes on in between."""
    running, reached = black_box.Running(*LONG, "hydra.run.dir=run", cwd=tmp_path), 0
    for number, code in CODES.items():
        goal = reached + 5
        running.wait_until(lambda goal=goal: iterations_done(tmp_path / "run") > goal)
        running.signal(number)
        returncode, _, err = running.end()
        assert returncode == code
        assert "Traceback" not in err
        assert summary(tmp_path / "run")["status"] == "interrupted"
        reached = iterations_done(tmp_path / "run")
        assert goal < reached < TOTAL
        newest = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())[-1]
        assert int(newest) == reached  # nothing of what was lived is lost
        assert left_behind(tmp_path / "run") == []
        running = Running("resume=run", cwd=tmp_path)
    assert running.end()[0] == 0
    assert_whole(tmp_path, whole)


def cpu_seconds_of_the_ended():
    """What all processes used that this one has started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_second_interrupt_leaves_at_once(tmp_path, whole):
    others = cpu_seconds_of_the_ended()
    running = black_box.Running(*LONG, "hydra.run.dir=run", cwd=tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") > 10)
    before = running.cpu_seconds()
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    returncode, _, err = running.end()
    assert returncode == 130
    assert cpu_seconds_of_the_ended() - others - before < 2
    assert "Traceback" not in err
    assert summary(tmp_path / "run")["status"] == "interrupted"
    assert left_behind(tmp_path / "run") == []
    finish(tmp_path, whole)


def test_killed_again_and_again(tmp_path, whole):
    generator = random.Random(0)
    reached, arguments = 0, (*LONG, "hydra.run.dir=run")
    for _ in range(3):
        running = Running(*arguments, cwd=tmp_path)
        goal = reached + generator.randrange(1, 35)
        running.wait_until(lambda goal=goal: iterations_done(tmp_path / "run") >= goal)
        time.sleep(generator.random() * 0.02)
        running.kill()
        reached, arguments = iterations_done(tmp_path / "run"), ("resume=run",)
    finish(tmp_path, whole)


def test_killed_before_the_first_checkpoint(tmp_path, whole):
    running = start(tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") >= 2)
    running.kill()
    finish(tmp_path, whole)


def test_a_finished_run_is_left_alone(tmp_path, whole):
    call(*LONG, "hydra.run.dir=run", cwd=tmp_path)
    before = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "run").rglob("*.*") if path.is_file()
    }
    done = call("resume=run", cwd=tmp_path)
    assert done.returncode == 0
    assert "complete" in done.stdout
    after = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "run").rglob("*.*") if path.is_file()
    }
    assert before == after


def test_a_run_in_use_is_not_entered(tmp_path):
    running = Running(*SMALL, "meta_iterations=5000", "hydra.run.dir=run", cwd=tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") > 1)
    (tmp_path / "without").mkdir()
    (tmp_path / "without/torch.py").write_text("raise SystemExit('torch was imported')")
    path = os.pathsep.join([str(tmp_path / "without"), environment()["PYTHONPATH"]])
    for again in (["resume=run"], [*SMALL, "hydra.run.dir=run"]):
        second = black_box.call(*again, cwd=tmp_path, PYTHONPATH=path)
        assert second.returncode == 3, second.stderr
        assert re.search(rf"is in use by process {running.process.pid} since \d{{4}}-", second.stderr)
    running.signal(signal.SIGINT)
    assert running.end()[0] == 130


def test_a_damaged_checkpoint_is_passed_over(tmp_path, whole):
    running = start(tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") > 30)
    running.signal(signal.SIGINT)
    running.end()
    newest = sorted((tmp_path / "run/checkpoints").iterdir())[-1] / "tensors.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    done = call("resume=run", cwd=tmp_path)
    assert done.returncode == 0
    assert newest.parent.name in done.stderr
    assert record(tmp_path / "run") == whole


def test_a_resumed_run_may_not_change_what_matters(tmp_path, whole):
    running = start(tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") > 10)
    running.kill()
    refused = call("resume=run", "algo.inner_lr=0.7", cwd=tmp_path)
    assert refused.returncode == 3
    assert "algo.inner_lr" in refused.stderr
    assert "allow_changes" in refused.stderr
    allowed = call("resume=run", "algo.inner_lr=0.7", "allow_changes=true", cwd=tmp_path)
    assert allowed.returncode == 0, allowed.stderr
    assert record(tmp_path / "run")["adaptation.csv"] != whole["adaptation.csv"]


def test_changes_are_recorded_and_kept_and_edits_by_hand_are_refused(tmp_path):
    def settings():
        return yaml.safe_load((tmp_path / "run/config.yaml").read_text())

    assert call(*SMALL, "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    more = ("meta_iterations=3", "meta_batch_size=5", "allow_changes=true")
    assert call("resume=run", *more, cwd=tmp_path).returncode == 0
    assert iterations_done(tmp_path / "run") == 3 and summary(tmp_path / "run")["meta_iterations"] == 3
    assert (settings()["meta_batch_size"], settings()["allow_changes"]) == (5, False)
    written = json.loads((tmp_path / "run/run.json").read_text())
    assert written["changes"] == [{"meta_batch_size": [3, 5], "meta_iterations": [2, 3]}]
    assert {"meta_batch_size=5", "meta_iterations=3"} <= set(written["overrides"])
    assert call("resume=run", "meta_iterations=4", "allow_changes=true", cwd=tmp_path).returncode == 0
    assert (settings()["meta_batch_size"], settings()["meta_iterations"]) == (5, 4)
    (tmp_path / "run/summary.json").unlink()
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump({**settings(), "meta_batch_size": 3}))
    edited = call("resume=run", cwd=tmp_path)
    assert edited.returncode == 3 and "was edited since the last checkpoint" in edited.stderr


def test_a_resumed_run_may_change_how_it_is_watched(tmp_path, whole):
    running = start(tmp_path)
    running.wait_until(lambda: iterations_done(tmp_path / "run") > 10)
    running.kill()
    begun = tmp_path / "run/run.json"
    older = {**json.loads(begun.read_text()), "versions": {"torch": "1.0"}}
    del older[SEAL]
    begun.write_text(json.dumps({**older, SEAL: seal(older)}))
    done = call("resume=run", "logger.console.plain_every=1", "checkpoint_every=3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "torch 1.0 →" in done.stderr  # with other software the promise of equal bytes does not hold
    assert record(tmp_path / "run")["adaptation.csv"] == whole["adaptation.csv"]
    assert record(tmp_path / "run")["metrics.csv"] == whole["metrics.csv"]
