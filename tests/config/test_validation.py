"""Every mistake in a plain configuration is told by its key, before torch is imported."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError

MakePackage = Callable[..., str]
OPEN = """
from metarl_run.algo.base import MetaAlgorithm
class Open(MetaAlgorithm):
    def __init__(self, *, options: dict) -> None: ...
"""
CHOICES = {"env": "cartpole_family", "learner": "reinforce", "network": "mlp", "algo": "maml", "logger": "files"}


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return compose_points(["logger=files"]).points[0].config


@pytest.fixture
def config(composed: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(composed)


def put(config: dict[str, Any], path: str, value: object) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        config = config[parent]
    config[key] = value


def told(config: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        validate(config, CHOICES)
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 500
    return caught.value


def test_the_default_is_valid_and_left_as_it_is(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    validate(config, CHOICES)
    assert config == before


def test_run_folders_of_before_the_papers_tasks_were_recorded_stay_valid(config: dict[str, Any]) -> None:
    del config["published"]["num_tasks"]
    validate(config, CHOICES)
    del config["published"]["source"]
    assert (told(config).where, told(config).reason) == ("published.source", "is missing")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("seed", -1, "must be an integer >= 0, got -1"),
        ("seed", None, "must be an integer >= 0, got None"),
        ("seed", "???", "must be given"),
        ("device", "gpu", "must be one of auto, cpu, cuda, got 'gpu'"),
        ("threads", 0, "must be auto or an integer in [1, 4096], got 0"),
        ("meta_test", 3, "must be a mapping of keys to values, got 3"),
        ("meta_test.num_tasks", 0, "must be an integer >= 1, got 0"),
        ("allow_changes", 1, "must be true or false, got 1"),
        ("plugins", "x", "must be a list, got 'x'"),
        ("plugins", [1], "entry 0 must be a word, got 1"),
        ("published", None, "must be a mapping of keys to values, got None"),
        ("published.lifetime_return", "156.2 ± 3", "must be a finite number, got '156.2 ± 3'"),
        ("published.lifetime_return", math.nan, "must be a finite number, got nan"),
        ("published.deviation", -1, "must be a finite number >= 0, got -1"),
        ("published.source", 2016, "must be a word, got 2016"),
        ("published.num_tasks", 0, "must be an integer >= 1, got 0"),
        ("budget", 3, "must be a word, got 3"),
        ("output_root", "a\nb", r"must not contain control characters, got 'a\nb'"),
        ("output_root", "a" * 4001, "must have at most 4000 characters, got 4001"),
        ("algo", None, "must be a mapping of keys to values, got None"),
        ("logger", [], "must be a mapping of keys to values, got []"),
        ("logger.files", 3, "must be a mapping of keys to values, got 3"),
        ("algo.inner_lr", math.nan, "must be a finite number > 0 with algo=maml, got nan"),
        ("algo.inner_lr", "x" * 400, "must have at most 300 characters, got 400"),
        ("algo.first_order", "yes", "must be true or false with algo=maml, got 'yes'"),
        ("algo.meta_optimizer", 3, "must be a mapping of keys to values, got 3"),
        ("algo.meta_optimizer", None, "must be a mapping of keys to values, got None"),
        ("algo.meta_optimizer.lr", 0, "must be a finite number > 0 with algo=maml, got 0"),
        ("network.hidden", [0], "entry 0 must be an integer >= 1 with network=mlp, got 0"),
        (
            "env.meta_test.gravity",
            ["uniform", 2, 1],
            "uniform: each low must be < its high with env=cartpole_family, got [2, 1]",
        ),
        ("logger.console.plain_every", 0, "must be an integer >= 1 with logger=files, got 0"),
        ("env.meta_train.gravity", "???", "must be given"),
    ],
)
def test_wrong_values(config: dict[str, Any], path: str, value: object, said: str) -> None:
    put(config, path, value)
    error = told(config)
    assert (error.where, error.reason) == (path, said)


@pytest.mark.parametrize(
    ("overrides", "where", "said"),
    [
        ("env=gridworld env.goal_reward=-1", "env.goal_reward", "must be > step_reward, which is -0.1"),
        ("env=gridworld env.meta_test.goals=[25]", "env.meta_test.goals", "must be all or a list of different cells"),
        ("env=gridworld env.size=3 env.meta_train.goals=[9]", "env.meta_train.goals", "must be all or a list of"),
        ("env=bandit env.meta_train.mean=[normal,0,1]", "env.meta_train.mean", "must lie in [0, 1] wherever it can be"),
        ("algo=model_based algo.continuous.planner.elites=33", "algo.continuous.planner.elites", "must be <= candi"),
        (
            "algo=model_based algo.continuous.planner.elites=0",
            "algo.continuous.planner.elites",
            "must be an integer >=",
        ),
        (
            "algo=model_based algo.continuous.discount=1",
            "algo.continuous.discount",
            "must be a finite number in [0, 1)",
        ),
        ("algo=rl2 network=transformer network.hidden=12", "network.hidden", "must be a multiple of twice attention_"),
        (
            "algo=meta_gradient algo.step_size_bounds=[0,1]",
            "algo.step_size_bounds",
            "entry 0 must be a finite number >",
        ),
    ],
)
def test_values_that_do_not_go_together(overrides: str, where: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_points(["logger=files", *overrides.split()])
    assert caught.value.where == where
    assert caught.value.reason.startswith(said)


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("sed", "did you mean seed?"),
        ("inner_lr", "did you mean algo.inner_lr?"),
        ("adaptation_steps", "did you mean algo.adaptation_steps?"),
        ("algo.lrr", "did you mean algo.inner_lr?"),
        ("algo.meta_optimizer.lrs", "did you mean algo.meta_optimizer.lr?"),
        ("env.meta_test.gravty", "did you mean env.meta_test.gravity?"),
        ("meta_test.tasks", "did you mean meta_test.num_tasks?"),
        ("published.sources", "did you mean published.source?"),
        ("network.size", "there is hidden, activation, initial_weights"),
        ("logger.files.path", None),
        ("xyzzy", None),
        ("algo._args_", None),
    ],
)
def test_unknown_keys_and_what_was_probably_meant(config: dict[str, Any], path: str, hint: str | None) -> None:
    put(config, path, 3)
    error = told(config)
    assert (error.where, error.reason) == (path, "unknown key")
    assert hint is None or error.hint == hint


@pytest.mark.parametrize(
    "path", ["seed", "algo", "algo.inner_lr", "algo._target_", "meta_test.num_tasks", "env.meta_train.force"]
)
def test_missing_keys(config: dict[str, Any], path: str) -> None:
    *parents, key = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    del node[key]
    error = told(config)
    assert (error.where, error.reason) == (path, "is missing")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("os.system", "must be in metarl_run or a package named in plugins, got os.system"),
        ("metarl_runner.X", "must be in metarl_run or a package named in plugins, got metarl_runner.X"),
        ("metarl_run.algo.maml.MAM", "there is no class metarl_run.algo.maml.MAM"),
        ("metarl_run.kinds.math.exp", "there is no class metarl_run.kinds.math.exp"),
        ("metarl_run.kinds.checked", None),
        (3, "must be a dotted name, got 3"),
    ],
)
def test_only_classes_of_allowed_packages(config: dict[str, Any], target: object, said: str | None) -> None:
    put(config, "algo._target_", target)
    error = told(config)
    if said:
        assert (error.where, error.reason) == ("algo._target_", said)


def test_a_component_must_be_what_its_place_wants(config: dict[str, Any]) -> None:
    config["learner"], config["network"] = config["network"], config["learner"]
    assert str(told(config)) == "error: learner._target_: must be a BaseLearner, got MLP"


def test_code_hidden_deep_in_plain_values_is_found(config: dict[str, Any], make_package: MakePackage) -> None:
    toy = make_package("toy", algo=OPEN)
    config["plugins"] = [toy]
    config["algo"] = {"_target_": "toy.algo.Open", "options": {"a": [{"_target_": "os.system"}]}}
    assert told(config).where == "algo.options.a.0._target_"


def test_a_plugin_is_validated_like_the_project_itself(config: dict[str, Any], make_package: MakePackage) -> None:
    text = """
from metarl_run.algo.base import MetaAlgorithm
from metarl_run.kinds import Fraction
class Mine(MetaAlgorithm):
    requires = ("tabular",)
    def __init__(self, *, network: object, mix: Fraction) -> None: ...
"""
    config["plugins"] = [make_package("toy", algo=text)]
    config["algo"] = {"_target_": "toy.algo.Mine", "mix": 2}
    assert told(config).where == "algo.mix"
    config["algo"]["mix"] = 0.5
    assert told(config).reason.startswith("maml requires a tabular family")  # the option's name, not the class's


def test_checkpoint_and_resume_contradict_each_other(config: dict[str, Any]) -> None:
    config["checkpoint"] = config["resume"] = "somewhere"
    assert str(told(config)).startswith("error: resume: cannot be given together with checkpoint")
