"""The libraries of a run: chosen once, recorded, kept on any machine, and shared by runs of one command."""

import json
import logging

import pytest
import torch
from black_box import SMALL, summary
from forks import call

from metarl_run.cli import impossible
from metarl_run.config.plan import read_record
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import SEAL, seal
from metarl_run.network import product
from metarl_run.network.product import IN_USE, LEVEL, MKL, ONEDNN
from metarl_run.network.product_speed import Measured
from metarl_run.run import products
from metarl_run.run.products import FILE, choice_of_job, choice_of_run, share

AUTO = {"products": "auto", "device": "cpu"}
FAST = {name: {"mkl": 100.0, "onednn": 200.0} for name in product.CLASSES[:-1]}
SLOW = {name: {"mkl": 200.0, "onednn": 100.0} for name in product.CLASSES[:-1]}


@pytest.fixture
def folder(tmp_path):
    """A run that was begun, of which no choice is recorded."""
    choices = {"algo": "maml", "env": "navigation", "learner": "reinforce", "network": "mlp"}
    record = {"format": 1, "choices": choices, "overrides": [], "versions": {}}
    write(tmp_path / "run.json", record)
    return tmp_path


def write(path, record):
    path.write_text(json.dumps({**record, SEAL: seal(record)}))


@pytest.fixture
def measures(monkeypatch):
    """Let measurements find something; how many there were."""
    count = []

    def find(choice, gflops):
        monkeypatch.setattr(products, "measured", lambda: count.append(1) or Measured(choice, gflops))
        return count

    return find


def test_what_was_chosen_is_recorded_and_kept_on_any_machine(folder, measures, caplog):
    count = measures(ONEDNN, FAST)
    assert choice_of_run(AUTO, folder, None) == ONEDNN and len(count) == 1
    record = read_record(folder)
    assert record["products"]["plain, large"] == "onednn" and record["gflops"]["plain, large"]["onednn"] == 200.0
    with caplog.at_level(logging.WARNING):
        assert choice_of_run(AUTO, folder, None) == ONEDNN
        assert not caplog.records
        measures(LEVEL, SLOW)  # resumed on another processor
        assert choice_of_run(AUTO, folder, None) == ONEDNN
    (told,) = caplog.messages
    assert "1.3 times as fast here: plain, medium; plain, large;" in told
    assert read_record(folder) == record


def test_where_onednn_is_absent_a_run_that_was_begun_with_it_goes_on_and_says_so(folder, measures, caplog, monkeypatch):
    measures(ONEDNN, FAST)
    choice_of_run(AUTO, folder, None)
    monkeypatch.setattr(products, "AVAILABLE", False)
    with caplog.at_level(logging.WARNING):
        choice_of_run(AUTO, folder, None)
    assert "which torch lacks here" in caplog.text


@pytest.mark.parametrize(("asked", "choice"), [("mkl", MKL), ("onednn", ONEDNN)])
def test_a_library_that_is_asked_for_costs_no_measurement(asked, choice, folder, measures):
    count = measures(LEVEL, {})
    config = {**AUTO, "products": asked}
    assert choice_of_run(config, folder, folder / FILE) == choice_of_job(config, folder / FILE) == choice
    assert read_record(folder)["products"] == choice and not count


def test_a_run_that_is_older_than_the_choice_goes_on_as_it_was(folder, measures):
    (folder / "checkpoints" / "000002").mkdir(parents=True)
    count = measures(ONEDNN, FAST)
    assert choice_of_run({"device": "cpu"}, folder, None) == LEVEL and not count


def test_runs_of_one_command_share_one_choice(folder, measures):
    count = measures(ONEDNN, FAST)
    share(folder, begun=False)
    measures(LEVEL, SLOW)
    share(folder, begun=True)  # started again on another processor
    for _ in range(2):
        assert choice_of_run(AUTO, folder, folder / FILE) == choice_of_job(AUTO, folder / FILE) == ONEDNN
        write(folder / "run.json", {k: v for k, v in read_record(folder).items() if k != "products"})
    assert len(count) == 1
    assert choice_of_job(AUTO, None) == LEVEL


def test_a_sweep_that_was_begun_before_the_choice_goes_on_as_it_was(tmp_path, measures):
    count = measures(ONEDNN, FAST)
    share(tmp_path, begun=True)
    assert choice_of_job(AUTO, tmp_path / FILE) == LEVEL and not count


@pytest.mark.parametrize("stored", [{"plain, large": "os.system"}, {"plain, huge": "mkl"}, {"plain, large": ["mkl"]}])
def test_a_record_that_no_run_wrote_is_refused(stored, folder):
    write(folder / "run.json", {**read_record(folder), "products": stored})
    with pytest.raises(StateError, match="must name mkl or onednn for each class"):
        choice_of_run(AUTO, folder, None)
    for text in (json.dumps({"products": stored}), "[]", "{"):
        (folder / FILE).write_text(text)
        with pytest.raises(StateError, match=FILE):
            choice_of_job(AUTO, folder / FILE)


def test_on_a_gpu_nothing_is_measured(folder, measures, monkeypatch):
    count = measures(ONEDNN, FAST)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for _ in range(2):
        assert choice_of_run({**AUTO, "device": "auto"}, folder, None) == LEVEL and not count


def test_a_library_that_torch_lacks_is_refused_in_one_line(monkeypatch):
    impossible._refuse_absent_library({"products": "onednn"})
    monkeypatch.setattr(product, "AVAILABLE", False)
    for other in ({}, {"products": "auto"}, {"products": "mkl"}):
        impossible._refuse_absent_library(other)
    with pytest.raises(ConfigError) as caught:
        impossible._refuse_absent_library({"products": "onednn"})
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith("error: products: must be one of the libraries that torch was built with: mkl,")


def test_all_processes_of_a_sweep_agree_and_a_resumed_job_goes_on_with_their_choice(tmp_path):
    """By a choice that no machine makes, put where the driver leaves its own."""
    odd = {**LEVEL, "per task, medium": "onednn"}
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / FILE).write_text(json.dumps({"products": odd, "gflops": {}}))
    sweep = ("-m", *SMALL, "seed=0,1", "hydra.sweep.dir=sweep", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert call(*sweep, cwd=tmp_path).returncode == 0
    jobs = sorted(path.parent for path in tmp_path.glob("sweep/*/run.json"))
    assert len(jobs) == 2
    for job in jobs:
        assert read_record(job)["products"] == summary(job)["products"] == odd
    (jobs[0] / "summary.json").unlink()
    assert call(f"resume={jobs[0]}", cwd=tmp_path).returncode == 0
    assert summary(jobs[0])["products"] == odd


def test_building_an_agent_puts_the_choice_to_use():
    from metarl_run.config.compose import compose_points
    from metarl_run.run.agent import set_up

    config = compose_points([*SMALL]).points[0].config
    threads, before = torch.get_num_threads(), IN_USE.choice
    try:
        set_up(config, products=ONEDNN)
        assert IN_USE.choice == ONEDNN
        set_up(config)
        assert IN_USE.choice == LEVEL
    finally:
        product.use(before)
        torch.set_num_threads(threads)
