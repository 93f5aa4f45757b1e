"""The record from which a sweep is continued: what it holds, and what it may not choose."""

import json

import pytest

from metarl_run.cli.sweep_record import FILE, commands_of, continuing, remember, to_go_on
from metarl_run.cli.train import compare_if_last
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import SEAL, seal
from metarl_run.report.sweep import sweep

ARGV = ["-m", "algo=maml,rl2", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweep.dir=here"]


def test_a_sweep_is_continued_by_any_launcher(tmp_path):
    remember(tmp_path, ARGV, 4)
    (command,) = commands_of(tmp_path)
    assert command == {"overrides": ["algo=maml,rl2", "seed=0,1"], "given_again": [], "jobs": 4}
    line = continuing(tmp_path, [f"resume={tmp_path}", "hydra/launcher=basic", "threads=1"])
    assert line == [["-m", "algo=maml,rl2", "seed=0,1", "hydra/launcher=basic", "threads=1", "retry_failed=false"]]
    assert to_go_on(ARGV) == ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    retried = continuing(tmp_path, [f"resume={tmp_path}", "retry_failed=true"])
    assert retried == [["-m", "algo=maml,rl2", "seed=0,1", "retry_failed=true"]]


def test_the_commands_of_a_folder_are_continued_one_after_the_other(tmp_path):
    for seed in (0, 1, 0):
        remember(tmp_path, ["-m", f"seed={seed}"], 1)
    assert [line[1] for line in continuing(tmp_path, ["resume=x"])] == ["seed=0", "seed=1"]
    remember(tmp_path, ["-m", "seed=1", "threads=2"], 1)  # the same jobs
    assert [line[1:-1] for line in continuing(tmp_path, ["resume=x"])] == [["seed=0"], ["seed=1", "threads=2"]]
    remember(tmp_path, ["-m", "seed=1", "sweep=[]"], 1)  # others
    assert len(commands_of(tmp_path)) == 3


def test_a_result_cannot_be_changed_on_the_way(tmp_path):
    remember(tmp_path, ARGV, 4)
    for text in ("seed=5", "algo.inner_lr=3", "meta_iterations=9", "budget=paper", "sweep=null"):
        with pytest.raises(ConfigError, match="cannot be changed in a sweep"):
            continuing(tmp_path, ["resume=x", text])


def test_what_chooses_code_is_given_again(tmp_path):
    mine = ["--config-dir", "conf", "plugins=[toy]", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"]
    remember(tmp_path, ["-m", *mine, "seed=0,1"], None)
    assert commands_of(tmp_path)[0]["overrides"] == ["seed=0,1"]
    with pytest.raises(StateError, match="may not ask for") as refused:
        continuing(tmp_path, ["resume=x", "plugins=[toy]"])
    missing = "--config-dir conf hydra/sweeper=optuna hydra.sweeper.n_trials=3"
    assert refused.value.hint == f"add {missing} if you trust it"
    (line,) = continuing(tmp_path, ["resume=x", *mine])
    assert line == ["-m", "--config-dir", "conf", "seed=0,1", *mine[2:], "retry_failed=false"]


@pytest.mark.parametrize(
    "override", ["plugins=[evil]", "hydra/launcher=joblib", "hydra.launcher.setup=[rm]", "--config-dir=x", "+hydra.x=1"]
)
def test_a_foreign_record_chooses_no_code(tmp_path, override):
    record = {"format": 1, "commands": [{"overrides": [override], "given_again": [], "jobs": 1}]}
    (tmp_path / FILE).write_text(json.dumps({**record, SEAL: seal(record)}))
    with pytest.raises(StateError, match="may not ask for"):
        continuing(tmp_path, ["resume=x"])


@pytest.mark.parametrize("damage", ["{", "[]", '{"commands": []}', '{"commands": [{}], "sha256": "0"}'])
def test_a_damaged_record_is_refused(tmp_path, damage):
    (tmp_path / FILE).write_text(damage)
    with pytest.raises(StateError, match="no record of a sweep"):
        commands_of(tmp_path)


def test_the_last_job_compares_where_nobody_drives_the_sweep(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(sweep, "write", lambda folder, page: compared.append(folder))
    remember(tmp_path, ARGV, 2)
    for number, status in enumerate(("complete", "interrupted")):
        (tmp_path / f"maml_x_0_{number}").mkdir()
        (tmp_path / f"maml_x_0_{number}/summary.json").write_text(json.dumps({"status": status}))
    compare_if_last(tmp_path)
    assert not compared
    (tmp_path / "maml_x_0_1/summary.json").write_text(json.dumps({"status": "failed"}))
    compare_if_last(tmp_path)
    assert compared == [tmp_path]
    compare_if_last(tmp_path / "maml_x_0_1")  # a folder without a record
    assert len(compared) == 1
