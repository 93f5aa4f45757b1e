"""Jobs in queues of others: which of them have ended, and what became of them."""

import os
import types

import pytest

from metarl_run.cli import queues
from metarl_run.cli.queues import SubmititLauncher, in_queue
from metarl_run.system.child import Died


class Original:
    def __init__(self, **options):
        self.options = options


class Handle:
    """A job of submitit."""

    def __init__(self, folder, job_id, state="RUNNING"):
        self.job_id, self.state = job_id, state
        self.paths = types.SimpleNamespace(result_pickle=folder / f"{job_id}.pkl", stderr=folder / f"{job_id}.err")
        self.watcher = types.SimpleNamespace(update=lambda: None)


@pytest.fixture
def launcher(monkeypatch):
    monkeypatch.setattr(SubmititLauncher, "replaced", f"{__name__}.SlurmLauncher")
    monkeypatch.setattr(queues, "get_class", lambda name: Original)
    monkeypatch.setattr(queues, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(queues, "SECONDS_BETWEEN_QUESTIONS", -1.0)
    return SubmititLauncher(timeout_min=3)


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)


def test_a_job_without_a_result_has_ended_once_slurm_has_not_known_it_twice(launcher, tmp_path, monkeypatch):
    done, dead, back = (Handle(tmp_path, f"7_{task}") for task in range(3))
    done.paths.result_pickle.touch()
    answers = iter([{"7_2"}, None, {"7_1"}, {"7_2"}, {"7_2"}])
    monkeypatch.setattr(queues, "in_queue", lambda arrays: next(answers))
    assert launcher.ended([done, dead, back]) == [done]
    assert launcher.ended([dead, back]) == []  # no answer tells nothing
    assert launcher.ended([dead, back]) == []  # one was put back, the other is away for the first time
    assert launcher.ended([dead, back]) == []
    assert launcher.ended([dead, back]) == [dead]
    dead.state = "CANCELLED by 0"
    with pytest.raises(Died, match=r"left no result, CANCELLED in SLURM; see .*7_1\.err"):
        launcher.result(dead)


def test_slurm_is_asked_once_for_all_arrays(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    program(tmp_path, "squeue", f'echo "$@" > {tmp_path}/asked; echo 7_0; echo 7_12')
    assert in_queue(["7", "8"]) == {"7_0", "7_12"}
    assert "--jobs=7,8" in (tmp_path / "asked").read_text()
    program(tmp_path, "squeue", "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    assert in_queue(["7"]) == set()
    program(tmp_path, "squeue", "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1")
    assert in_queue(["7"]) is None
