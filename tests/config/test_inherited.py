"""A run from a checkpoint is the agent that was trained, in its tasks, for what the command line does not say."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from metarl_run.config.compose import compose_points
from metarl_run.config.inherited import COMPARED, agent_record, as_text
from metarl_run.config.point import Point
from metarl_run.config.settings import Settings
from metarl_run.errors import ConfigError, StateError

FILES = "logger=files"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(*argv: str, folder: str = "run", own_record: bool = True) -> str:
    """The folder of a run with a checkpoint, as far as it is read before torch is there; one of older days is told by
    `own_record=False`."""
    (point,) = compose_points([FILES, *argv]).points
    saved = Path(folder, "checkpoints", "000002")
    saved.mkdir(parents=True)
    Path(folder, "config.yaml").write_text(yaml.safe_dump(point.config))
    Path(folder, "run.json").write_text(json.dumps({"choices": point.choices, "overrides": []}))
    agent = {"agent": agent_record(point.config, point.choices)} if own_record else {}
    (saved / "manifest.json").write_text(json.dumps({"format": 1, **agent}))
    return folder


def from_it(*argv: str) -> Point:
    (point,) = compose_points([FILES, "checkpoint=run", *argv]).points
    return point


def change(key: str, value: Any, folder: str = "run") -> None:
    """Write another value into a run's configuration."""
    path = Path(folder, "config.yaml")
    config = yaml.safe_load(path.read_text())
    *parents, last = key.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[last] = value
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("own_record", [True, False])
@pytest.mark.parametrize(
    "argv",
    [
        ("network.activation=relu", "network.hidden=[8]", "algo.inner_lr=0.125"),
        ("env=navigation", "learner.initial_deviation=0.25", "learner.policy=gaussian_state_dependent"),
        ("experiment=rl2_cartpole", "budget=paper", "algo.episodes=3", "env.horizon=17"),
        ("algo=e_maml", "learner=actor_critic", "meta_test.num_tasks=7", "meta_test.adaptation_steps=9"),
        ("algo=metric_based", "meta_batch_size=9", "env.meta_test.gravity=[uniform,15,25]"),
        ("algo=varibad", "algo/meta_optimizer=sgd", "algo.belief_optimizer.lr=0.5", "network=lstm"),
        ("env=random_mdp", "network=table"),
    ],
)
def test_what_is_not_said_is_the_runs(argv: tuple[str, ...], own_record: bool) -> None:
    (run,) = compose_points([FILES, *argv]).points
    trained(*argv, own_record=own_record)
    point = from_it("meta_iterations=0", "seed=5")
    assert {k: point.config[k] for k in COMPARED if k not in ("meta_iterations", "seed")} == {
        k: run.config[k] for k in COMPARED if k not in ("meta_iterations", "seed")
    }
    groups = [group for group in run.choices if group.partition("/")[0] in ("algo", "env", "learner", "network")]
    assert {group: point.choices[group] for group in groups} == {group: run.choices[group] for group in groups}
    iterations = run.config["meta_iterations"]
    assert point.differences == (f"meta_iterations: {iterations} → 0", "seed: 0 → 5")


def test_what_is_said_counts_and_is_told() -> None:
    trained("network.activation=relu", "learner.discount=0.5", "seed=3")
    point = from_it("network.activation=tanh", "meta_test.num_tasks=11", "env.meta_test.gravity=3", "meta_iterations=0")
    assert point.config["network"]["activation"] == "tanh" and point.config["learner"]["discount"] == 0.5
    assert set(point.differences) == {
        "network.activation: relu → tanh",
        "meta_test.num_tasks: 200 → 11",
        "env.meta_test.gravity: ['uniform', 5, 15] → 3",
        "meta_iterations: 80 → 0",
        "seed: 3 → 0",
    }


def test_another_option_comes_whole_and_the_same_one_says_nothing() -> None:
    trained("network.hidden=[8]", "algo=fomaml", "algo.inner_lr=0.125", "env.horizon=17")
    same = from_it("network=mlp", "env=cartpole_family")
    assert same.config["network"]["hidden"] == [8] and same.config["env"]["horizon"] == 17
    assert same.differences == ()
    other = from_it("env=random_mdp", "algo=maml")
    (own,) = compose_points([FILES, "env=random_mdp"]).points
    assert other.config["env"] == own.config["env"] and other.config["algo"] == own.config["algo"]
    assert other.config["network"]["hidden"] == [8]
    assert other.differences[:2] == ("env: cartpole_family → random_mdp", "algo: fomaml → maml")
    assert "algo.inner_lr: 0.125 → 5.0" in other.differences and "env.horizon: 17 → 10" in other.differences


def test_parts_of_an_algorithm_can_be_chosen_too() -> None:
    trained("algo.meta_optimizer.lr=0.25", "algo.inner_lr=0.125")
    point = from_it("algo/meta_optimizer=sgd")
    (own,) = compose_points([FILES, "algo/meta_optimizer=sgd"]).points
    assert point.config["algo"] == {**own.config["algo"], "inner_lr": 0.125}


def test_an_experiment_goes_before_the_run_in_what_its_file_says() -> None:
    trained("experiment=smoke", "network.activation=relu", "meta_test.num_tasks=50", "meta_batch_size=8")
    point = from_it("experiment=smoke")
    assert point.config["network"]["activation"] == "relu"
    assert point.config["meta_test"]["num_tasks"] == 4 and point.config["meta_batch_size"] == 3
    assert set(point.differences) == {"meta_test.num_tasks: 50 → 4", "meta_batch_size: 8 → 3"}


def test_an_experiments_own_options_and_parents_are_said(tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    parent, child = (tmp_path / "conf" / "experiment" / f"{name}.yaml" for name in ("parent", "child"))
    head = "# @package _global_\ndefaults:\n"
    parent.write_text(
        f"{head}  - override /env: random_mdp\n  - _self_\nlearner: {{discount: 0.75}}\ncheckpoint: run\n"
    )
    child.write_text(f"{head}  - parent\n  - _self_\nnetwork: {{activation: tanh}}\n")
    trained("network.activation=relu", "network.hidden=[8]", "learner.discount=0.5")
    (point,) = compose_points([f"--config-dir={tmp_path / 'conf'}", FILES, "experiment=child"]).points
    assert (point.config["network"]["hidden"], point.config["network"]["activation"]) == ([8], "tanh")
    assert point.config["learner"]["discount"] == 0.75 and point.choices["env"] == "random_mdp"


def test_each_job_of_a_sweep_takes_what_is_its_own() -> None:
    trained("algo=rl2", "algo.episodes=3", "env.horizon=17", "network.hidden=8")
    trained("network.activation=relu", folder="other")
    argv = ["-m", FILES, "checkpoint=run", "algo.episodes=2,5", "env=cartpole_family,random_mdp", "network=gru"]
    composed = compose_points(argv)
    assert composed.lists  # not what Hydra would make of the arguments
    assert [
        (p.config["algo"]["episodes"], p.choices["env"], p.config["env"]["horizon"], p.config["network"]["hidden"])
        for p in composed.points
    ] == [(n, env, T, 8) for n in (2, 5) for env, T in (("cartpole_family", 17), ("random_mdp", 10))]
    both = compose_points(["-m", FILES, "checkpoint=run,other", "seed=0,1"]).points
    assert [point.choices["algo"] for point in both] == ["rl2", "rl2", "maml", "maml"]


def test_shown_configurations_are_the_runs_too() -> None:
    trained("algo=rl2", "algo.episodes=3")
    composed = compose_points(["--cfg=job", "checkpoint=run", "algo.episodes=2"])
    assert composed.passthrough and {"algo=rl2", "network=gru"} < {*composed.arguments}


def test_one_checkpoint_of_a_run_and_one_copied_alone_serve_as_well() -> None:
    trained("network.activation=relu")
    for path in ("run/checkpoints/000002", "copied/000002"):
        if path.startswith("copied"):
            shutil.copytree("run/checkpoints", "copied")
        (point,) = compose_points([FILES, f"checkpoint={path}"]).points
        assert point.config["network"]["activation"] == "relu"


def test_keys_that_an_older_run_does_not_have_keep_their_defaults() -> None:
    trained("network.activation=relu", own_record=False)
    path = Path("run", "config.yaml")
    config = yaml.safe_load(path.read_text())
    del config["learner"]["average"], config["meta_batch_chunk"]
    path.write_text(yaml.safe_dump(config))
    point = from_it()
    assert point.config["learner"]["average"] == "steps" and point.config["network"]["activation"] == "relu"
    assert "learner.average: (not there) → steps" in point.differences


# --- What cannot be used ---


def test_a_checkpoint_that_cannot_be_had_is_told_before_torch() -> None:
    trained(own_record=False)
    shutil.copytree("run/checkpoints/000002", "alone/000002")
    shutil.copytree("run", "unreadable")
    Path("unreadable", "config.yaml").write_text("{[\n\n")
    shutil.copytree("run", "empty")
    shutil.rmtree("empty/checkpoints")
    code = f"""
import sys
from metarl_run.config.compose import compose_points
from metarl_run.errors import StateError
for path, told in {{"nowhere": "there is no such folder to start from", "empty": "holds no checkpoint",
                    "alone/000002": "tells nothing of the agent", "unreadable": "is not a run folder"}}.items():
    try:
        compose_points(["{FILES}", "checkpoint=" + path, "meta_iterations=0"])
    except StateError as error:
        assert error.where == path and told in error.reason and "\\n" not in error.reason, error
        continue
    raise AssertionError(path)
assert not {{"torch", "gymnasium"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("algo._target_", "os.system", "algo._target_: must be in metarl_run or a package named in plugins"),
        ("algo._target_", "toy.Mine", "algo._target_: must be in metarl_run or a package named in plugins"),
        ("algo.inner_lr", -1, "algo.inner_lr: must be a finite number > 0"),
        ("learner.nope", 1, "learner.nope: unknown key"),
        ("env.meta_test.gravity", "${oc.env:HOME}", "env.meta_test.gravity: must"),
        ("network", "x hydra.run.dir=/", "network: must be a mapping"),
    ],
)
def test_a_runs_configuration_is_not_trusted(key: str, value: Any, said: str) -> None:
    trained(own_record=False)
    change(key, value)
    with pytest.raises(StateError) as caught:
        from_it()
    assert str(caught.value).startswith(f"error: run: {said}")


def test_a_runs_plugins_have_to_be_named_again(tmp_path: Path, make_package: Any) -> None:
    made = "from metarl_run.network.mlp import MLP\nclass Mine(MLP): ...\n"
    make_package("toy", network=made)
    trained("plugins=[toy]", "network._target_=toy.network.Mine", "network.hidden=[8]")
    with pytest.raises(StateError, match=r"network._target_: .*\nhint: if you trust it, add plugins=\[toy\]"):
        from_it()
    assert from_it("plugins=[toy]").config["network"]["_target_"] == "toy.network.Mine"


def test_an_option_that_is_not_here_is_named() -> None:
    trained()
    for name in ("run.json", "checkpoints/000002/manifest.json"):
        path = Path("run", name)
        path.write_text(path.read_text().replace('"maml"', '"mine"'))
    with pytest.raises(StateError, match="error: run: algo: there is no option 'mine'"):
        from_it()


def test_mistakes_of_the_command_line_stay_its_own() -> None:
    trained("algo=rl2", "network.hidden=8")
    for argv, said in (
        ("algo.episods=3", "error: algo.episods: unknown key\nhint: did you mean algo.episodes?"),
        ("algo.episodes=0", "error: algo.episodes: must be an integer >= 1 with algo=rl2"),
        ("network=mlp", "error: algo: rl2 requires a network with memory, which network=mlp does not provide"),
        ("resume=run", "error: resume: cannot be given together with checkpoint"),
    ):
        with pytest.raises(ConfigError) as caught:
            from_it(argv)
        assert str(caught.value).startswith(said)


# --- Its parts ---


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -3, 1e-5, 0.1, 3e20),
        *("", "a b", "null", "1", 'a"b', "a\\b", 'a\\"b', "end\\", "a,b]}=", "größe: ~"),
        *([], ["uniform", 5, -1.5], [[1], ["x"]], {"a": [1, "b"], "c": {"d": None}}),
    ],
)
def test_values_read_back_as_they_were(value: Any) -> None:
    (parsed,) = OverridesParser.create().parse_overrides([f"++key={as_text(value, 'key', 'run')}"])
    assert repr(plain(parsed.value())) == repr(value)


def plain(value: Any) -> Any:
    """Without Hydra's marks of quoting."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return value.text if hasattr(value, "text") else value


def test_of_every_key_it_is_known_whether_it_is_taken() -> None:
    own = {"checkpoint_every", "published", "budget", "budgets", "checkpoint", "resume", "allow_changes", "plugins"}
    own |= {"threads", "output_root", "panel", "sweep", "table", "objective", "film", "retry_failed", "report"}
    own |= {"distributed"}
    groups = {"env", "learner", "network", "algo"}
    assert {field.name for field in dataclasses.fields(Settings)} == {*COMPARED} - groups | own
