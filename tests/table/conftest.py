"""A small table of fast agents, whose jobs run in the test process."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.system.interruption import StopRequest
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob
from metarl_run.table.reproduce import Work, planned
from metarl_run.table.run_job import run_job

SMALL = {
    "columns": ["Random", "eps-Greedy"],
    "rows": ["10", "25"],
    "tasks": 12,
    "tuning_tasks": 6,
    "tasks_at_once": 6,
    "blocks": {"as published": {}, "true prior": {"eps-Greedy": {"prior": {"reward_mean": 2.0}}}},
}
"""RL²'s MDPs: a column without a grid and one with, two rows that share a job, two blocks."""

Config = dict[str, Any]


@pytest.fixture(scope="session")
def mdps() -> Config:
    """The composed configuration of RL²'s Table 2; to be copied, not changed."""
    return compose_points(["experiment=rl2_mdps"]).points[0].config


@pytest.fixture
def config(mdps: Config) -> Config:
    """A table that takes a second: rows keep their names, but lifetimes are a few episodes of 2 steps."""
    small = copy.deepcopy(mdps)
    small["table"] |= copy.deepcopy(SMALL)
    small["table"]["agents"]["eps-Greedy"]["grid"] = {"epsilon": [1.0, 0.1]}
    small["env"]["horizon"] = 2
    for row, episodes in (("10", 2), ("25", 3), ("50", 4)):
        small["table"]["protocol"][row]["episodes"] = episodes
    return small


@pytest.fixture
def work_of(tmp_path: Path) -> Callable[[Config], Work]:
    return lambda config: planned(config, tmp_path, [])


def run_missing(work: Work) -> list[str]:
    """Run all missing jobs in this process and return their names."""
    names = []
    for _ in range(2):
        tuning = [job for jobs in work.tuning.values() for job in jobs]
        jobs = {job.folder: job for job in [*tuning, *work.reporting(work.choices()).values()]}
        for job in jobs.values():
            if not store.read(work.root / job.folder, job).complete:
                run_job(work.root / job.folder, job, StopRequest())
                names.append(job.name)
    return names


@pytest.fixture
def completed(work_of: Callable[[Config], Work]) -> Callable[[Config], tuple[Work, list[str]]]:
    def make(config: Config) -> tuple[Work, list[str]]:
        work = work_of(config)
        return work, run_missing(work)

    return make


@pytest.fixture
def the_job() -> Callable[..., EvaluationJob]:
    def find(work: Work, column: str, block: str = "as published", row: str = "25") -> EvaluationJob:
        """The reporting job of one cell."""
        found = work.reporting(work.choices())
        (cell,) = [cell for cell in found if (cell.column, cell.block, cell.row) == (column, block, row)]
        return found[cell]

    return find
