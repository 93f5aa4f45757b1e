"""Numbers that are not finite end a run in the iteration that made them, named, before they are saved."""

import json
import math
from pathlib import Path

import pytest
import torch

from metarl_run.config.compose import compose_points
from metarl_run.config.plan import Plan
from metarl_run.errors import NumericalError
from metarl_run.run import checkpoint
from metarl_run.run import run as module
from metarl_run.run.agent import set_up
from metarl_run.system.interruption import StopRequest

BAD = [math.nan, math.inf, -math.inf]


def begun(folder: Path, *overrides: str, spoil=lambda family, algo: None):
    """A run of four iterations whose agent or family is spoiled before it begins."""
    (point,) = compose_points(["experiment=smoke", "meta_iterations=4", "threads=1", *overrides]).points
    folder.mkdir()

    def spoiled(config, **more):
        made = set_up(config, **more)
        spoil(made.family, made.algo)
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "set_up", spoiled)
        module.run(Plan(point.config, point.choices, list(point.overrides)), folder, StopRequest())


def after_the_third(method, change):
    """The method, its result changed from the third call on."""
    calls = 0

    def wrapped(*args, **kwargs):
        nonlocal calls
        calls += 1
        result = method(*args, **kwargs)
        return change(result) if calls >= 3 else result

    return wrapped


def last_saved(folder: Path):
    return checkpoint.load_newest(folder / "checkpoints")


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("algo", ["maml", "reptile", "rl2"])
def test_a_meta_parameter(bad, algo, tmp_path):
    def spoil(family, algo):
        def change(metrics):
            next(iter(algo.meta_params.values())).data.view(-1)[0] = bad
            return metrics

        algo.meta_update = after_the_third(algo.meta_update, change)

    with pytest.raises(NumericalError, match=r"must be finite, got \S+ in meta-iteration 3\b") as caught:
        begun(tmp_path / "run", f"algo={algo}", *(["env=random_mdp"] if algo == "rl2" else []), spoil=spoil)
    assert caught.value.where.startswith("meta-parameter ")
    saved = last_saved(tmp_path / "run")
    assert saved.iteration == 2
    assert all(x.isfinite().all() for x in saved.state["algo"]["meta_params"].values())
    assert json.loads((tmp_path / "run/summary.json").read_text())["error"]["exit_code"] == 4


@pytest.mark.parametrize("bad", BAD)
def test_a_moment_of_the_meta_optimizer(bad, tmp_path):
    def spoil(family, algo):
        def change(metrics):
            algo.meta_optimizer.memory["first_moment"][0].view(-1)[0] = bad
            return metrics

        algo.meta_update = after_the_third(algo.meta_update, change)

    with pytest.raises(NumericalError, match=r"in meta-iteration 3\b") as caught:
        begun(tmp_path / "run", spoil=spoil)
    assert caught.value.where == "meta_optimizer.first_moment of policy.0.weight"
    assert last_saved(tmp_path / "run").iteration == 2


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("algo", ["maml", "rl2", "random"])
@pytest.mark.parametrize("what", ["reward", "observation"])
def test_what_a_family_returns_in_training_or_in_an_evaluation(what, algo, bad, tmp_path):
    """From its third episodes on: whoever does not meta-train meets them in the meta-test."""

    def spoil(family, algo):
        def reward(result):
            state, r, terminated = result
            return state, torch.where(torch.ones_like(r).cumsum(1) == 2, bad, r), terminated

        def observation(x):
            x = x.clone()
            x[1, 0, 0] = bad
            return x

        method = "step" if what == "reward" else "observe"
        change = reward if what == "reward" else observation
        changed = after_the_hundredth(getattr(type(family), method), change)
        family.__class__ = type(type(family).__name__, (type(family),), {method: changed})

    with pytest.raises(NumericalError, match=r"must be finite, got \S+ in task \d+, step \d+, env \d+") as caught:
        begun(tmp_path / "run", f"algo={algo}", "env=random_mdp", spoil=spoil)
    assert caught.value.where == f"{what} of RandomMDP"


def after_the_hundredth(method, change):
    calls = 0

    def wrapped(*args):
        nonlocal calls
        calls += 1
        result = method(*args)
        return change(result) if calls > 20 else result

    return wrapped


@pytest.mark.parametrize("bad", BAD)
def test_an_adapted_parameter_in_an_evaluation(bad, tmp_path):
    def spoil(family, algo):
        def change(agent):
            params = {name: φ.clone() for name, φ in agent.params.items()}
            next(iter(params.values()))[1].view(-1)[0] = bad
            return agent._replace(params=params)

        algo.adapt = after_the_third(algo.adapt, change)

    with pytest.raises(NumericalError, match=r"in task 1, adaptation step \d, meta_test after") as caught:
        begun(tmp_path / "run", "algo=scratch", "meta_test.adaptation_steps=4", spoil=spoil)
    assert caught.value.where == "adapted parameter policy.0.weight"
