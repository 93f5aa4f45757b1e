"""MLflow: what is sent there, and that the run never waits for it. The package itself is stood in for."""

import logging
import sys
import threading
import types
from collections import namedtuple

import pytest
from samples import CURVE, EXACT_CURVE

from metarl_run.errors import ConfigError
from metarl_run.logger import mlflow
from metarl_run.logger.base import RunInfo

Metric = namedtuple("Metric", "key value timestamp step")
Param = namedtuple("Param", "key value")


class Client:
    """Records what a server would hear."""

    said: list

    def __init__(self, tracking_uri):
        self.uri = tracking_uri

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name):
        self.said.append(("experiment", name))
        return "5"

    def create_run(self, number, run_name, tags):
        self.said.append(("run", number, run_name, tags))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="abc"))

    def log_batch(self, run_id, metrics=(), params=()):
        self.said += [("metric", run_id, m.key, m.value, m.step) for m in metrics]
        self.said += [("param", p.key, p.value) for p in params]

    def log_artifact(self, run_id, path):
        self.said.append(("artifact", path))

    def set_terminated(self, run_id, status):
        self.said.append(("status", run_id, status))


@pytest.fixture(autouse=True)
def said(monkeypatch):
    monkeypatch.setattr(mlflow, "find_spec", lambda name: object())
    for name in ("MLFLOW_RUN_NAME", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    Client.said = []
    modules = {
        "mlflow": types.ModuleType("mlflow"),
        "mlflow.entities": types.SimpleNamespace(Metric=Metric, Param=Param),
        "mlflow.tracking": types.SimpleNamespace(MlflowClient=Client),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return Client.said


def opened(folder, position=None, timeout=600.0, **more):
    info = RunInfo(
        folder=folder,
        config={"algo": {"inner_lr": 0.5, "note": "x" * 1000}, "seed": 7},
        algo="maml",
        env="bandit",
        learner="reinforce",
        seed=7,
        meta_iterations=3,
        first_iteration=0,
    )
    sink = mlflow.MLflow(**({"tracking_uri": None, "experiment": None, "name": None, "timeout": timeout} | more))
    sink.open(info, position or {})
    return sink


def test_everything_arrives(tmp_path, said):
    sink = opened(tmp_path / "run")
    sink.metrics(1, {"meta_train/return_after": 10.0, "meta_train/nothing": None})
    sink.evaluation([{"split": "meta_validation", "iteration": 2}], CURVE)
    sink.evaluation([{"split": "meta_test", "iteration": 3}], EXACT_CURVE)
    sink.finish({}, [tmp_path / "curve.png"])
    assert sink.position() == {"run_id": "abc"}
    assert said[:2] == [
        ("experiment", "metarl-run"),
        (
            "run",
            "5",
            "run",
            {"algo": "maml", "env": "bandit", "learner": "reinforce", "folder": str(tmp_path / "run")},
        ),
    ]
    assert [call for call in said if call[0] == "param"] == [
        ("param", "algo.inner_lr", "0.5"),
        ("param", "algo.note", "x" * 500),
        ("param", "seed", "7"),
    ]
    metrics = [call[2:] for call in said if call[0] == "metric"]
    assert metrics[0] == ("meta_train/return_after", 10.0, 1)
    assert ("meta_validation/return_after_1_steps", 194.0, 2) in metrics
    assert {("meta_test/mean", 31.0, 0), ("meta_test/mean", 194.0, 20)} < {*metrics}
    assert said[-2:] == [("artifact", str(tmp_path / "curve.png")), ("status", "abc", "FINISHED")]


def test_names_from_keys_come_before_those_from_the_environment(tmp_path, said, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_NAME", "named")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    opened(tmp_path).close()
    opened(tmp_path, name="given", experiment="this").close()
    assert [call[1] for call in said if call[0] == "experiment"] == ["ours", "this"]
    assert [call[2] for call in said if call[0] == "run"] == ["named", "given"]
    assert said[-1] == ("status", "abc", "FAILED")  # it was closed without being finished


def test_a_resumed_run_goes_on_as_the_same_one(tmp_path, said):
    sink = opened(tmp_path, {"run_id": "before"})
    sink.metrics(4, {"meta_train/return_after": 1.0})
    sink.finish({}, [])
    assert said == [
        ("status", "before", "RUNNING"),
        ("metric", "before", "meta_train/return_after", 1.0, 4),
        ("status", "before", "FINISHED"),
    ]


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_what_goes_wrong_is_one_warning(tmp_path, monkeypatch, caplog, how):
    end = threading.Event()

    def misbehave(self, name):
        if how == "fails":
            raise OSError("no such server\nat all")
        end.wait()

    monkeypatch.setattr(Client, "get_experiment_by_name", misbehave)
    sink = opened(tmp_path, timeout=600.0 if how == "fails" else 0.05)
    for iteration in (1, 2):
        sink.metrics(iteration, {"meta_train/return_after": 10.0})
    sink.finish({}, [])
    sink.close()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert ("no such server. " if how == "fails" else "did not finish within 0.05 s. ") in warning
    end.set()


def test_without_the_package_one_line_names_the_command(monkeypatch):
    monkeypatch.setattr(mlflow, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="which is not installed") as caught:
        mlflow.MLflow(tracking_uri=None, experiment=None, name=None, timeout=1.0)
    assert caught.value.hint.startswith("pip install mlflow-skinny")
