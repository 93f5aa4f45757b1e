"""The sweeper whose jobs are known beforehand."""

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import OmegaConf

from metarl_run.cli import sweeper
from metarl_run.cli.sweeper import ListedSweeper, register

JOBS = [["seed=0"], ["seed=1"], ["seed=2"]]


class Launcher:
    def __init__(self, last):
        self.last, self.batches = last, []

    def launch(self, job_overrides, initial_job_idx):
        self.batches.append((initial_job_idx, job_overrides))
        return [JobReturn(status=self.last if job == JOBS[2] else JobStatus.COMPLETED) for job in job_overrides]


def swept(monkeypatch, tmp_path, size, last=JobStatus.COMPLETED):
    launcher = Launcher(last)
    plugins = type("", (), {"instantiate_launcher": lambda self, **_: launcher, "register": lambda self, _: None})()
    monkeypatch.setattr(ListedSweeper, "failed", False)
    monkeypatch.setattr(sweeper.Plugins, "instance", lambda: plugins)
    chosen = ListedSweeper(max_batch_size=size)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    chosen.setup(hydra_context=HydraContext(None, None), task_function=lambda _: None, config=config)
    return launcher.batches, chosen.sweep([])


@pytest.mark.parametrize(
    ("size", "batches"), [(None, [(0, JOBS)]), (2, [(0, JOBS[:2]), (2, JOBS[2:])]), (9, [(0, JOBS)])]
)
def test_jobs_are_handed_over_in_batches(size, batches, monkeypatch, tmp_path):
    assert register(JOBS) == {"hydra.sweeper._target_": "hydra_plugins.metarl_run.ListedSweeper"}
    handed, done = swept(monkeypatch, tmp_path, size)
    assert handed == batches and len(done) == 3 and not ListedSweeper.failed
    assert (tmp_path / "multirun.yaml").is_file()


def test_a_failure_and_a_sweep_with_nothing_left_to_do(monkeypatch, tmp_path):
    register(JOBS)
    swept(monkeypatch, tmp_path, None, JobStatus.FAILED)
    assert ListedSweeper.failed
    register([])
    assert swept(monkeypatch, tmp_path, None) == ([], []) and not ListedSweeper.failed
