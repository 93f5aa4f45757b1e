"""The sink that reports to a search: which validations, as what, and what it does where there is none."""

import logging

import pytest

from metarl_run.errors import Pruned, StateError
from metarl_run.logger.base import RunInfo
from metarl_run.search import study
from metarl_run.search.pruning import Pruning, foretold

CURVE = {"mean": [1.0, 2.0], "iqm": [3.0, 4.0], "success": [0.0, 0.5]}


@pytest.mark.parametrize(
    "objective, value",
    [
        ("meta_test.mean", 2.0),
        ("meta_test.iqm", 4.0),
        ("meta_test.success", 0.5),
        ("meta_test.expected", 2.0),
        ("lifetime_return.mean", 3.0),
    ],
)
def test_what_stands_for_the_objective(objective, value):
    assert foretold(objective, CURVE) == value


@pytest.fixture
def sink(tmp_path):
    """Of the second of a point's seeds, in a run of 10 meta-iterations with a validation after every 4."""
    made = Pruning(point=7, place=1)
    config = {"objective": "meta_test.mean", "validate_every": 4}
    names = {"algo": "maml", "env": "bandit", "learner": "reinforce", "seed": 1001}
    run = RunInfo(folder=tmp_path / "run", config=config, **names, meta_iterations=10, first_iteration=0)
    made.open(run, {})
    return made


def validated(sink, iteration, split="meta_validation"):
    sink.evaluation([{"split": split, "iteration": iteration}], CURVE)


def test_a_run_that_falls_behind_ends(sink, tmp_path, monkeypatch):
    reported = []

    def report(*arguments):
        reported.append(arguments)
        return len(reported) == 2

    monkeypatch.setattr(study, "report", report)
    validated(sink, 4)
    validated(sink, 10, "meta_test")
    with pytest.raises(Pruned) as end:
        validated(sink, 8)
    assert end.value.iteration == 8
    assert reported == [(tmp_path, 7, 3, 2.0), (tmp_path, 7, 4, 2.0)]  # after the two of the first seed


def test_a_run_is_not_lost_with_its_search(sink, monkeypatch, caplog):
    def report(*arguments):
        raise StateError("study.db", "is no study")

    monkeypatch.setattr(study, "report", report)
    with caplog.at_level(logging.WARNING):
        validated(sink, 4)
    assert "goes on without its search: study.db: is no study" in caplog.text
