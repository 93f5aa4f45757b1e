"""A search on a command line: what it stands for, and what is refused before anything starts."""

import importlib.metadata
import importlib.util

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError

SEARCH = ("-m", "logger=files", "hydra/sweeper=search")
STEP_SIZE = "algo.inner_lr=tag(log,interval(0.01,1))"


def test_points_stand_for_the_ends_of_the_space():
    composed = compose_points([*SEARCH, STEP_SIZE, "algo=maml,reptile", "seed=3", "meta_iterations=5"])
    ends = [(point.choices["algo"], point.config["algo"]["inner_lr"]) for point in composed.points]
    assert ends == [("maml", 0.01), ("maml", 1), ("reptile", 0.01)]
    search = composed.search
    assert search is not None and not composed.lists
    assert search.given == ("logger=files", "meta_iterations=5") and search.groups == {"logger", "algo"}
    assert search.overrides({"algo.inner_lr": 0.2, "algo": "maml"})[2:] == ["algo.inner_lr=0.2", "algo=maml"]
    assert search.options.seeds == (1000,) and search.options.final_seeds == (0, 1, 2)
    assert not search.minimises and search.validations == 0
    record = search.record
    assert record["algo"] == "choice(maml,reptile)" and record["seed"] == 3 and record["objective"] == "meta_test.mean"
    assert not {"algo._target_", "threads", "logger.files._target_"} & {*record}


def test_a_space_may_stand_with_the_sweeper():
    composed = compose_points([*SEARCH, "hydra.sweeper.params={algo.inner_lr: 'interval(0.1,0.5)'}"])
    assert composed.search is not None and [*map(str, composed.search.space)] == ["interval(0.1,0.5)"]


def test_costs_are_made_small():
    search = compose_points([*SEARCH, STEP_SIZE, "objective=cpu_seconds"]).search
    assert search is not None and search.minimises


@pytest.mark.parametrize(
    "arguments, where, reason",
    [
        (["meta_iterations=3"], "hydra/sweeper", "needs a key to search"),
        ([STEP_SIZE, "hydra.sweeper.trials=0"], "hydra.sweeper.trials", "must be an integer >= 1, got 0"),
        ([STEP_SIZE, "hydra.sweeper.sampler=grid"], "hydra.sweeper.sampler", "must be one of tpe, cmaes, random"),
        ([STEP_SIZE, "hydra.sweeper.n_trials=3"], "hydra.sweeper.n_trials", "unknown key"),
        ([STEP_SIZE, "hydra.sweeper.seeds=[]"], "hydra.sweeper.seeds", "must name a seed"),
        ([STEP_SIZE, "hydra.sweeper.seeds=[1,1]"], "hydra.sweeper.seeds", "must be a list of different integers"),
        ([STEP_SIZE, "hydra.sweeper.final_seeds=[7,1000]"], "hydra.sweeper.final_seeds", "got 1000"),
        ([STEP_SIZE, "hydra.sweeper.trials=10001"], "hydra.sweeper.trials", "at most 10000 runs"),
        ([STEP_SIZE, "hydra.sweeper.pruner=median", "objective=cpu_seconds"], "hydra.sweeper.pruner", "cannot tell"),
        ([STEP_SIZE, "hydra.sweeper.pruner=median", "validate_every=0"], "hydra.sweeper.pruner", "needs validations"),
        (["algo=maml,fomaml", "hydra.sweeper.sampler=cmaes"], "hydra.sweeper.sampler", "needs a number"),
        ([STEP_SIZE, "objective=nothing"], "objective", "must be one of meta_test.mean"),
        (["algo.inner_lr=interval(-1,1)"], "algo.inner_lr", "must be a finite number > 0"),
        (["algo.inner_lr=choice(0.1,-1)"], "algo.inner_lr", "in algo.inner_lr=-1: must be a finite number > 0"),
        ([STEP_SIZE, "experiment=families"], "sweep", "cannot be searched"),
    ],
)
def test_what_is_refused(arguments, where, reason):
    with pytest.raises(ConfigError) as told:
        compose_points([*SEARCH, *arguments])
    assert told.value.where == where and reason in told.value.reason


@pytest.mark.parametrize(
    "missing, hint", [("optuna", "pip install 'metarl-run[optuna]'"), ("cmaes", "pip install cmaes")]
)
def test_what_is_not_installed_is_named_with_its_command(monkeypatch, missing, hint):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ConfigError, match="is not installed") as told:
        compose_points([*SEARCH, STEP_SIZE, "hydra.sweeper.sampler=cmaes"])
    assert told.value.hint == hint


def test_an_optuna_from_before_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.10.1")
    with pytest.raises(ConfigError, match=r"needs Optuna 4 or newer, got 2\.10\.1"):
        compose_points([*SEARCH, STEP_SIZE])
