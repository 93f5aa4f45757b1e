"""TensorBoard: what is written there, under the names of wandb's charts. The package itself is stood in for."""

import logging
import sys
import types

import pytest
from PIL import Image
from samples import CURVE, EXACT_CURVE

from metarl_run.errors import ConfigError
from metarl_run.logger import tensorboard
from metarl_run.logger.base import RunInfo


class Writer:
    """Records calls."""

    def __init__(self, folder, **options):
        self.folder, self.options, self.calls = folder, options, []
        Writer.last = self

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, *arguments))


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))


def opened(folder, first_iteration=0):
    info = RunInfo(
        folder=folder,
        config={"algo": {"inner_lr": 0.5}},
        algo="maml",
        env="bandit",
        learner="reinforce",
        seed=7,
        meta_iterations=3,
        first_iteration=first_iteration,
    )
    sink = tensorboard.TensorBoard(flush_seconds=30.0)
    sink.open(info, {})
    return sink


def test_everything_arrives(tmp_path):
    sink = opened(tmp_path)
    sink.metrics(1, {"meta_train/return_after": 10.0, "meta_train/nothing": None})
    sink.evaluation([{"split": "meta_validation", "iteration": 2}], CURVE)
    sink.evaluation([{"split": "meta_test", "iteration": 3}], EXACT_CURVE)
    Image.new("RGB", (8, 8)).save(tmp_path / "adaptation_curve.png")
    (tmp_path / "adaptation_curve.svg").touch()
    sink.finish({}, [tmp_path / "adaptation_curve.png", tmp_path / "adaptation_curve.svg"])
    writer = Writer.last
    assert (writer.folder, writer.options) == (str(tmp_path / "tensorboard"), {"flush_secs": 30})
    scalars = [call[1:] for call in writer.calls if call[0] == "add_scalar"]
    assert scalars[0] == ("meta_train/return_after", 10.0, 1)
    assert {("meta_validation/return_after_0_steps", 31, 2), ("meta_validation/return_after_1_steps", 194, 2)} < {
        *scalars
    }
    assert {("meta_test/mean", 31, 0), ("meta_test/mean", 194, 20), ("meta_test/optimum", 200, 20)} < {*scalars}
    assert [call[1] for call in writer.calls if call[0] == "add_image"] == ["adaptation_curve"]
    assert writer.calls[-1] == ("close",)


def test_a_resumed_run_replaces_what_it_will_write_again(tmp_path):
    opened(tmp_path, first_iteration=10)
    assert Writer.last.options["purge_step"] == 11


def test_what_goes_wrong_is_one_warning(tmp_path, monkeypatch, caplog):
    def fail(*arguments):
        raise OSError("no space")

    sink = opened(tmp_path)
    monkeypatch.setattr(Writer, "add_scalar", fail, raising=False)
    for iteration in (1, 2):
        sink.metrics(iteration, {"meta_train/return_after": 10.0})
    sink.finish({}, [])
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "no space" in warning and "complete without it" in warning


def test_without_the_package_one_line_names_the_command(monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="which is not installed") as caught:
        tensorboard.TensorBoard(flush_seconds=30.0)
    assert caught.value.hint == "pip install tensorboard"
