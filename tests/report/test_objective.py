"""The number that a job returns: of a summary or of rows, the last of several."""

import json

import pytest

from metarl_run.errors import ConfigError, NumericalError
from metarl_run.report.objective import objective_of


@pytest.fixture
def folder(tmp_path):
    summary = {
        "meta_test": {"mean": [1.0, 2, 3], "low": [None, None, None]},
        "lifetime_return": {"mean": 6.5, "low": None},
        "wall_seconds": 2,
        "device": "cpu",
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "metrics.csv").write_text("iteration,meta_train/loss\n1,0.5\n2,0.25\n")
    (tmp_path / "timing.csv").write_text("iteration,time/seconds\n1,7\n2,nan\n")
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value"),
    [("meta_test.mean", 3), ("lifetime_return.mean", 6.5), ("wall_seconds", 2), ("meta_train/loss", 0.25)],
)
def test_the_last_number_counts(folder, key, value):
    assert objective_of(folder, key) == value


@pytest.mark.parametrize("key", ["meta_test.low", "lifetime_return.low", "device", "iteration", "meta_train/none"])
def test_what_a_run_lacks_is_refused_with_what_it_has(folder, key):
    with pytest.raises(ConfigError) as caught:
        objective_of(folder, key)
    assert caught.value.where == "objective"
    assert ("meta_train/loss, time/seconds" if "/" in key else "meta_test.mean, lifetime_return.mean") in str(
        caught.value
    )


def test_a_number_that_is_not_finite_is_refused(folder):
    with pytest.raises(NumericalError):
        objective_of(folder, "time/seconds")
