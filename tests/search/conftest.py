"""Searches without runs: what a study needs of one."""

import sqlite3

import pytest

from metarl_run.config.search import Options, Search
from metarl_run.config.search_space import Choices, Numbers

SPACE = (Numbers("algo.inner_lr", 0.01, 1.0, log=True), Numbers("meta_batch_size", 5, 20, 5, whole=True))


@pytest.fixture(autouse=True)
def without_waiting_for_the_disk(monkeypatch):
    connect = sqlite3.connect

    def quick(*arguments, **named):
        connection = connect(*arguments, **named)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    monkeypatch.setattr(sqlite3, "connect", quick)


@pytest.fixture
def search_of():
    """A search with some of its parts changed."""

    def make(space=SPACE, config=(), given=("env=bandit",), groups=("env",), **options):
        of_run = {"seed": 0, "objective": "meta_test.mean", "meta_iterations": 4, "validate_every": 1}
        defaults = {"trials": 12, "sampler": "tpe", "pruner": "none", "seeds": (1000,), "final_seeds": (0,)}
        return Search(
            options=Options(**{**defaults, "n_jobs": None, **options}),
            space=space,
            given=given,
            config={**of_run, "retry_failed": True, **dict(config)},
            groups=frozenset(groups),
        )

    return make


@pytest.fixture
def with_choice():
    return (*SPACE, Choices("algo", ("maml", "reptile")))
