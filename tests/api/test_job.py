"""Runs from Python, in a process of their own, and what is read from their folders afterwards."""

import json
import os
import shutil
import signal
import threading

import numpy as np
import pytest

import metarl_run
from metarl_run.api import result as result_module
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import SEAL, seal


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run by the package's function, called in a thread, and what it printed."""
    folder = tmp_path_factory.mktemp("job") / "a run"
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ)
    results = []
    arguments = ["experiment=smoke", "logger=files", f'hydra.run.dir="{folder}"', "threads=1"]
    thread = threading.Thread(target=lambda: results.append(metarl_run.run(arguments, show=False)))
    thread.start()
    thread.join()
    assert before == ([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], dict(os.environ))
    (result,) = results
    assert result.folder == folder
    return result


def test_a_run_and_what_came_of_it(finished):
    assert (finished.status, finished.choices["algo"], finished.config["seed"]) == ("complete", "maml", 0)
    assert finished.curve["adaptation_step"] == [0, 1, 2]
    assert finished.curve["mean"] == finished.summary["meta_test"]["mean"]
    assert finished.metrics["iteration"] == [1, 2] and len(finished.metrics["meta_train/return_after"]) == 2
    rows = finished.adaptation
    assert {*rows["split"]} == {"meta_validation", "meta_test"} and {type(x) for x in rows["task"]} == {int}
    assert metarl_run.read(finished.folder) == finished and metarl_run.read(finished.folder.parent)[0] == finished


def test_runs_are_compared_wherever_they_are(finished):
    comparison = metarl_run.compare([finished, str(finished.folder.parent)])
    (group,) = comparison.groups
    assert group.seeds == [0] and comparison.failed == ()
    assert comparison.table["algo"] == ["maml"] * 3
    assert comparison.table["mean"] == finished.curve["mean"]
    assert "cartpole_family" in str(comparison) and "k=2" in str(comparison)
    saved = {path.name for path in comparison.save(finished.folder.parent / "paper")}
    assert saved >= {"comparison.csv", "comparison.png", "report.html"}


def test_its_agent_is_the_one_that_was_trained(finished):
    agent = finished.load()
    checkpoint = metarl_run.load(sorted((finished.folder / "checkpoints").iterdir())[-1])
    for each in (agent, checkpoint):
        each.start()
    x = np.array([0.1, 0.2, -0.1, 0.0])
    assert {name for name, φ in agent.state.params.items() if not φ.equal(checkpoint.state.params[name])} == set()
    assert [agent.act(x) for _ in range(20)] == [checkpoint.act(x) for _ in range(20)]
    assert repr(agent) == "<Agent algo=maml env=cartpole_family, 1 envs>"
    first = metarl_run.load(sorted((finished.folder / "checkpoints").iterdir())[0])
    first.start()
    assert any(not φ.equal(agent.state.params[name]) for name, φ in first.state.params.items())


def test_a_checkpoint_may_travel_alone_but_names_no_code_to_trust(finished, tmp_path):
    alone = tmp_path / "checkpoint"
    shutil.copytree(sorted((finished.folder / "checkpoints").iterdir())[-1], alone)
    agent, whole = metarl_run.load(alone), finished.load()
    agent.start()
    whole.start()
    assert all(φ.equal(whole.state.params[name]) for name, φ in agent.state.params.items())
    manifest = json.loads((alone / "manifest.json").read_text())
    manifest["agent"]["config"]["env"]["_target_"] = "evil.Family"
    del manifest[SEAL]
    (alone / "manifest.json").write_text(json.dumps({**manifest, SEAL: seal(manifest)}))
    with pytest.raises(StateError, match="must be in metarl_run or a package named in plugins, got evil"):
        metarl_run.load(alone)


def test_what_the_command_refuses_is_raised_in_its_own_words():
    with pytest.raises(ConfigError) as caught:
        metarl_run.run(["algo=mamml"])
    assert str(caught.value) == "error: algo: there is no option 'mamml'\nhint: did you mean maml?"
    with pytest.raises(ConfigError, match="must be a list of texts"):
        metarl_run.run("algo=maml")


def test_folders_without_results_are_one_line(tmp_path):
    for refused in (lambda: metarl_run.read(tmp_path / "no"), lambda: metarl_run.load(tmp_path / "no")):
        with pytest.raises(StateError, match="there is no such folder"):
            refused()
    with pytest.raises(StateError, match="holds neither a run nor a sweep"):
        metarl_run.read(tmp_path)
    with pytest.raises(StateError, match="is not a run folder"):
        metarl_run.load(tmp_path)
    with pytest.raises(StateError, match="there are no runs to compare"):
        metarl_run.compare([])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    unfinished = metarl_run.read(tmp_path / "run")
    assert unfinished.status == "unfinished" and unfinished.metrics == {}
    with pytest.raises(StateError, match="has no result: it is unfinished"):
        _ = unfinished.curve


def test_tables_are_frames_where_there_is_pandas(monkeypatch):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=lambda columns: ("frame", columns)))
    assert result_module.table({"a": [1]}) == ("frame", {"a": [1]})
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert result_module.table({"a": (1,)}) == {"a": [1]}


def test_the_package_itself_offers_the_names():
    assert {*metarl_run.__all__} <= {*dir(metarl_run)}
    assert all(callable(getattr(metarl_run, name)) for name in metarl_run.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = metarl_run.train
