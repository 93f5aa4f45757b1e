"""Numbers that are not finite end a run in the iteration that made them, named, before they are saved.

A part of scripts/studies/finite_loop, which does this for all algorithms and values.
"""

import importlib.util
import math
import random
import sys
from pathlib import Path

import pytest

from metarl_run import lifetime
from metarl_run.run import training

SCRIPT = Path(__file__).parents[2] / "scripts" / "studies" / "finite_loop.py"


@pytest.fixture(scope="module")
def loop():
    spec = importlib.util.spec_from_file_location("finite_loop", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["finite_loop"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["finite_loop"]


@pytest.mark.parametrize(
    ("algo", "env", "value"),
    [
        ("maml", "cartpole_family", math.nan),
        ("maml_trpo", "random_mdp", math.inf),
        ("meta_gradient", "bandit", -math.inf),
        ("reptile", "bandit", math.nan),
        ("rl2", "bandit", math.inf),
        ("varibad", "bandit", -math.inf),
        ("metric_based", "navigation", math.nan),
        ("scratch", "bandit", math.inf),
        ("thompson", "bandit", math.nan),
    ],
)
def test_a_number_that_is_not_finite_ends_the_run_in_its_iteration_by_its_name(algo, env, value, loop):
    places = [*random.Random(algo).sample([*loop.TRAINING], 6), "observation in evaluation", "reward in evaluation"]
    outcomes = loop.examine(algo, env, places, [value])
    assert len(outcomes) >= 2
    assert [outcome for outcome in outcomes if outcome.fault] == []


@pytest.mark.parametrize(
    ("room", "check", "places"),
    [
        (lifetime, "require_finite", ["first state in evaluation", "reward in evaluation"]),
        (training, "require_finite_state", ["parameter", "first moment"]),
        (training, "require_finite_metrics", ["logged metric"]),
    ],
)
def test_what_no_check_finds_is_a_fault(room, check, places, loop, monkeypatch):
    monkeypatch.setattr(room, check, lambda *_: None)
    outcomes = loop.examine("maml", "bandit", places, [math.nan])
    assert [outcome.place for outcome in outcomes] == places
    assert all(outcome.fault for outcome in outcomes)
