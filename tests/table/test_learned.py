"""Learned columns: trained in the table's folder, or taken from finished runs."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan
from metarl_run.config.renamed import with_former_targets
from metarl_run.config.settings import keys_that_affect
from metarl_run.errors import ConfigError, StateError
from metarl_run.run.run import run
from metarl_run.system.interruption import StopRequest
from metarl_run.table import asked, store
from metarl_run.table.cells import Cell
from metarl_run.table.learned import _mark
from metarl_run.table.reproduce import Work, planned
from metarl_run.table.run_job import run_job

TINY = """\
# @package _global_
# RL² in seconds on lifetimes of 2 episodes
defaults:
  - rl2_mdp_n10
  - _self_
budgets:
  cpu: {meta_iterations: 1, lifetimes: 4, hidden: 4, minibatches: 2}
  paper: {meta_iterations: 2, lifetimes: 4, hidden: 4, minibatches: 2}
meta_test: {num_tasks: 2, adaptation_steps: 1}
meta_validation: {num_tasks: 2, adaptation_steps: 1}
algo: {episodes: 2}
"""
TABLE = """\
# @package _global_
# A learned column beside a classical one
defaults:
  - /table@table
  - /algo@table.agents.Random.algo: random
  - _self_
  - override /env: random_mdp
table:
  title: tiny
  source: nobody
  tasks: 6
  tasks_at_once: 4
  seeds: [0, 3]
  agents:
    RL2: {experiments: {"2": tiny}}
  protocol:
    "1": {episodes: 1, tolerance: 1.0, published: {Random: 10.0, RL2: null}}
    "2": {episodes: 2, tolerance: 1.0, published: {Random: 20.0, RL2: 21.0}}
"""
CELL = Cell("as published", "2", "RL2")


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("options")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "tiny.yaml").write_text(TINY)
    (folder / "experiment" / "tiny_table.yaml").write_text(TABLE)
    return [f"--config-dir={folder}"]


@pytest.fixture
def config(flags: list[str]) -> dict[str, Any]:
    return copy.deepcopy(compose_points([*flags, "experiment=tiny_table"]).points[0].config)


def run_all_of(work: Work) -> list[np.ndarray]:
    totals = []
    for job in work.learned[CELL]:
        run_job(work.root / job.folder, job, StopRequest())
        found = store.read(work.root / job.folder, job).totals
        assert found is not None
        totals.append(found)
    return totals


def test_learned_columns_are_left_out_unless_asked_for(config: dict[str, Any], tmp_path: Path) -> None:
    assert {cell.column for cell in planned(config, tmp_path, []).cells} == {"Random"}


def test_a_seed_is_trained_once_and_stands_for_the_cell_elsewhere(
    config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    config["table"]["columns"] = ["RL2"]
    work = planned(config, tmp_path / "trains", flags)
    assert not (tmp_path / "trains").exists()
    assert [(job.agent_seed, job.budget, job.episodes) for job in work.learned[CELL]] == [
        (0, "cpu", (2,)),
        (3, "cpu", (2,)),
    ]
    assert work.cells == [CELL]  # there is no experiment for the other row
    trained = run_all_of(work)
    assert not np.array_equal(*trained)  # other seeds, other agents
    run = tmp_path / "trains" / work.learned[CELL][0].folder / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}

    config["table"] |= {"columns": None, "checkpoints": str(tmp_path / "trains"), "train": False}
    other = planned(config, tmp_path / "takes", flags)
    assert [job.training for job in other.learned[CELL]] == [None, None]
    for mine, taken in zip(trained, run_all_of(other), strict=True):
        assert np.array_equal(mine, taken)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before

    asked.write(other.root, config, other.learned)
    config["table"] |= {"checkpoints": None, "report_only": True}
    report = planned(config, tmp_path / "takes", [])  # neither experiments nor checkpoints are needed any more
    for mine, job in zip(trained, report.learned[CELL], strict=True):
        assert np.array_equal(mine, store.read(report.root / job.folder, job).totals)

    renamed, other_agent = copy.deepcopy(config), copy.deepcopy(config)
    for row in renamed["table"]["protocol"].values():
        row["published"]["RL2-named-anew"] = row["published"].pop("RL2")
    renamed["table"]["agents"]["RL2-named-anew"] = renamed["table"]["agents"].pop("RL2")
    (found,) = planned(renamed, tmp_path / "takes", []).learned.values()
    assert [job.folder for job in found] == [job.folder for job in report.learned[CELL]]
    other_agent["table"]["agents"]["RL2"] = {"experiments": {"2": "another"}}
    assert not planned(other_agent, tmp_path / "takes", []).learned

    config["table"] |= {"budget": "paper", "checkpoints": str(tmp_path / "trains"), "report_only": False}
    config["table"]["columns"] = ["RL2"]
    with pytest.raises(ConfigError, match="holds no finished run of experiment=tiny for RL2 at 2"):
        planned(config, tmp_path / "other", flags)  # a run of another budget is another run
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train": False}, "holds no finished run of experiment=tiny for RL2 at 2"),
        ({"checkpoints": "nowhere"}, "table.checkpoints: there is no folder nowhere"),
        ({"budget": "papre"}, "table.agents.RL2.experiments.2: budget: must be one of cpu, paper"),
    ],
)
def test_an_unavailable_cell_is_refused_in_one_line(
    change: dict[str, Any], reason: str, config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    config["table"] |= {"columns": ["RL2"], **change}
    with pytest.raises(ConfigError, match=reason):
        planned(config, tmp_path / "table", flags)
    assert not (tmp_path / "table").exists()


def test_an_experiment_in_other_tasks_or_that_does_not_exist_is_refused(
    config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    config["table"]["columns"] = ["RL2"]
    config["table"]["protocol"]["2"]["env"] = {"num_states": 7}
    with pytest.raises(ConfigError, match=r"tiny draws other tasks: env.num_states is 10, not 7"):
        planned(config, tmp_path, flags)
    config["table"]["agents"]["RL2"]["experiments"]["2"] = "tinny"
    with pytest.raises(ConfigError, match="there is no option 'tinny'"):
        planned(config, tmp_path, flags)


def test_a_stored_plan_that_is_no_configuration_is_not_run(
    config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    """Run folders travel, and files may not name code to trust."""
    config["table"]["columns"] = ["RL2"]
    work = planned(config, tmp_path / "trains", flags)
    run_job(work.root / work.learned[CELL][0].folder, work.learned[CELL][0], StopRequest())
    stored = next((tmp_path / "trains").rglob("run/config.yaml"))
    honest = stored.read_text()
    config["table"] |= {"checkpoints": str(tmp_path / "trains")}
    for text, reason in [
        (honest.replace("metarl_run.algo.rl2.RL2", "os.system"), r"named in plugins, got os\.system"),
        (honest.replace("meta_batch_chunk: null", ""), "meta_batch_chunk: is missing"),  # of an older version
    ]:
        stored.write_text(text)
        with pytest.raises(StateError, match=reason) as refused:
            planned(config, tmp_path / "takes", flags)
        assert refused.value.where == str(stored)


def test_a_finished_run_stands_for_a_cell_as_the_agent_that_it_trained(
    config: dict[str, Any], flags: list[str], tmp_path: Path
) -> None:
    own = ["experiment=tiny", "logger=files", "seed=7", "learner.value_scale=3", "algo.max_kl=0.5"]
    (point,) = compose_points([*flags, *own]).points
    run(Plan(point.config, point.choices, [*point.overrides], in_sweep=True), made(tmp_path / "runs"), StopRequest())
    config["table"] |= {"columns": ["RL2"], "checkpoints": str(tmp_path / "runs"), "train": False}
    (job,) = planned(config, tmp_path / "table", flags).learned[CELL]
    for key in ("algo", "learner", "network"):
        assert job.config[key] == point.config[key]
    assert job.agent_seed == 7 and job.config["learner"]["value_scale"] == 3


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_folder_of_a_seed_has_the_name_that_one_thread_gave_it(flags: list[str]) -> None:
    (point,) = compose_points([*flags, "experiment=tiny", "threads=2"]).points
    plan = Plan(point.config, point.choices, [*point.overrides])
    before = {
        **{key: value for key, value in plan.config.items() if key not in keys_that_affect("nothing")},
        "threads": 1,
        "compile": False,
    }
    for key in ("products", "dataset", "collect"):  # younger than the names
        del before[key]
    text = json.dumps(with_former_targets(before), sort_keys=True).encode()
    assert _mark(plan) == hashlib.blake2b(text, digest_size=4).hexdigest()
