"""Command lines become validated configurations, or one line that says what is wrong. Nothing is created."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR

MakePackage = Callable[..., str]
FILES = "logger=files"


@pytest.fixture(autouse=True)
def nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert not os.listdir(folder)


def one(*argv: str) -> dict[str, Any]:
    (point,) = compose_points([FILES, *argv]).points
    return point.config


def told(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose_points(argv)
    return str(caught.value)


def test_a_single_run() -> None:
    composed = compose_points([FILES, "algo=fomaml", "seed=0"])
    (point,) = composed.points
    assert not composed.multirun and not composed.passthrough
    assert point.config["algo"]["first_order"] is True
    assert point.config["seed"] == 0 and isinstance(point.config["seed"], int)
    assert "hydra" not in point.config and type(point.config["env"]) is dict
    assert point.overrides == (FILES, "algo=fomaml", "seed=0")
    assert point.choices["algo"] == "fomaml" and point.choices["env"] == "cartpole_family"


def test_folders_are_named_after_the_choices_and_never_twice() -> None:
    folders = [compose_points([FILES, "seed=7"]).points[0].folder for _ in range(20)]
    assert all("_maml_cartpole_family_7_" in folder and folder.startswith("outputs/") for folder in folders)
    assert len(set(folders)) == 20
    assert compose_points([FILES, "hydra.run.dir=/somewhere"]).points[0].folder == "/somewhere"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=range(0,1,0)", "seed: must be swept in steps, got a range whose step is 0"),
        ("seed=range(0,100000000)", "seed: must have at most 10000 values, got 100000000"),
        ("hydra.sweep.subdir=same", "hydra.sweep.subdir: must differ from job to job, got 'same' for 2 of them"),
    ],
)
def test_sweeps_that_cannot_be_are_refused_before_they_are_expanded(argument: str, message: str) -> None:
    swept = [] if argument.startswith("seed") else ["seed=0,1"]
    assert told("-m", FILES, *swept, argument).startswith(f"error: {message}")


@pytest.mark.parametrize("text", ["meta_iterations: 1\n", "defaults:\n  - override /algo: fomaml\n"])
def test_an_experiment_without_its_header_is_told_so(text: str, tmp_path: Path) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    message = told("--config-dir", str(tmp_path / "conf"), "experiment=mine")
    assert message.endswith("hint: an experiment's file begins with the line: # @package _global_")


def test_a_blank_inside_brackets_is_told_as_what_it_is() -> None:
    assert told("network.hidden=[64,", "64]").endswith("or 'network.hidden=[a, b]' in quotes")


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("output_root=runs (2)", """quote it: 'output_root="runs (2)"'"""),
        ("panel=ä", """quote it: 'panel="ä"'"""),
        ('panel="ä', """quote it: 'panel="ä"'"""),
        ("ключ=1", "metarl-run --help lists the keys"),
        ("~seed", "leave out ~seed"),
    ],
)
def test_hints_can_be_pasted(argument: str, hint: str) -> None:
    assert told(argument).endswith(f"\nhint: {hint}")


def test_the_home_folder_may_be_written_as_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (point,) = compose_points([FILES, 'output_root="~/results"']).points
    assert point.config["output_root"] == "/home/me/results"
    assert point.folder.startswith("/home/me/results/")
    assert compose_points([FILES, 'hydra.run.dir="~/a"']).points[0].folder == "/home/me/a"
    assert compose_points([FILES, "output_root=~/results"]).points[0].config == point.config


def test_extrapolation_is_configured_key_by_key() -> None:
    env = one("env.meta_test.gravity=[uniform,15,20]")["env"]
    default = one()["env"]
    assert default["meta_train"] == default["meta_test"]
    assert env["meta_test"] == {**default["meta_test"], "gravity": ["uniform", 15, 20]}
    assert env["meta_train"] == default["meta_train"]


def test_meta_test_follows_meta_train_unless_told_otherwise() -> None:
    env = one("env.meta_train.gravity=9.8")["env"]
    assert env["meta_test"]["gravity"] == env["meta_train"]["gravity"] == 9.8


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("env=cartpol", "error: env: there is no option 'cartpol'\nhint: did you mean cartpole_family?"),
        ("env=../algo/maml", "error: env: must be the name of an option, got '../algo/maml'"),
        ("algo=null", "error: algo: must be the name of an option, got 'None'"),
        ("algo=", "error: algo: must be the name of an option, got ''"),
        ("experiment=smok", "error: experiment: there is no option 'smok'\nhint: did you mean smoke?"),
        ("algo.lrr=3", "error: algo.lrr: unknown key\nhint: did you mean algo.inner_lr?"),
        ("+algo.lrr=3", "error: algo.lrr: unknown key\nhint: did you mean algo.inner_lr?"),
        ("++algo.lrr=3", "error: algo.lrr: unknown key\nhint: did you mean algo.inner_lr?"),
        ("algoo=maml", "error: algoo: unknown key\nhint: did you mean algo?"),
        ("inner_lr=-1", "error: inner_lr: unknown key\nhint: did you mean algo.inner_lr?"),
        ("adaptation_steps=0", "error: adaptation_steps: unknown key\nhint: did you mean algo.adaptation_steps?"),
        ("num_tasks=0", "error: num_tasks: unknown key\nhint: did you mean meta_test.num_tasks?"),
        ("algo.inner_lr=0", "error: algo.inner_lr: must be a finite number > 0 with algo=maml, got 0"),
        (
            "algo=fomaml algo.adaptation_steps=0",
            "error: algo.adaptation_steps: must be an integer >= 1 with algo=fomaml, got 0\nhint: K = 0 is joint",
        ),
        ("+algo.inner_lr=3", "error: algo.inner_lr: is there already\nhint: write algo.inner_lr=VALUE, without +"),
        ("~algo.lrr", "error: algo.lrr: cannot be deleted: there is no such key"),
        ("~algo.inner_lr", "error: algo.inner_lr: is missing"),
        ("~algo", "error: algo: is missing"),
        ("algo.inner_lr.x=3", "error: algo.inner_lr: must be a finite number > 0 with algo=maml, got {'x': 3}"),
        ("algo.inner_lr=abc", "error: algo.inner_lr: must be a finite number > 0 with algo=maml, got 'abc'"),
        ("algo.inner_lr=-inf", "error: algo.inner_lr: must be a finite number > 0 with algo=maml, got -inf"),
        ("algo.inner_lr=???", "error: algo.inner_lr: must be given\nhint: add algo.inner_lr=VALUE"),
        ("algo.inner_lr=${nope}", "error: algo.inner_lr: Interpolation key 'nope' not found"),
        ("algo.inner_lr=${algo.inner_lr}", "error: algo.inner_lr: "),
        ("algo.inner_lr=${", "error: algo.inner_lr: its value cannot be read"),
        ("seed=1.5", "error: seed: must be an integer >= 0, got 1.5"),
        ("seed", "error: seed: must be of the form key=value"),
        ("=3", "error: =3: must be of the form key=value"),
        ("seed=1,2", "error: seed: is given several values\nhint: add -m to run each value"),
        ("seed=range(3)", "error: seed: is given several values"),
        (
            "network=table",
            "error: network: table requires a tabular family, which env=cartpole_family does not provide",
        ),
        ("+env@other=random_mdp", "error: other: unknown key"),
        ("--nope", "error: --nope: unknown flag"),
        ("--resolve", "error: --resolve: only says how --cfg shows"),
        ("output_root=''", "error: output_root: must be a path, got an empty one"),
        ("hydra.run.dir=''", "error: hydra.run.dir: must be a path, got an empty one"),
        ("hydra.output_subdir=../../x", "error: hydra.output_subdir: must stay inside"),
        ("hydra.verbose={a:b}", "error: hydra.verbose: must be true, false or names of loggers"),
        ("hydra.sweeper.max_batch_size=0", "error: hydra.sweeper.max_batch_size: must be an integer >= 1, got 0"),
        ("plugins=['']", "error: plugins: must be names of packages, got ''"),
        ("plugins=3", "error: plugins: must be a list, got 3"),
        ("threads=1000000", "error: threads: must be auto or an integer in [1, 4096], got 1000000"),
        ("meta_batch_size=100000000000000000000", "error: meta_batch_size: must be an integer >= 1 and at most 2^53"),
        ("--experiment=smoke", "error: --experiment: unknown flag\nhint: write experiment=VALUE, without dashes"),
        ("--meta-iterations=3", "error: --meta-iterations: unknown flag\nhint: write meta_iterations=VALUE"),
        ("--cfg=nope", "error: command line: argument --cfg/-c: invalid choice: 'nope'"),
        ("--config-dir=/nowhere", "error: --config-dir: there is no folder '/nowhere'"),
        ("--config-name=nope", "error: --config-name: there is no 'nope'"),
        ("--experimental-rerun=x.pickle", "error: --experimental-rerun: is refused"),
        ("plugins=[nope] algo._target_=nope.X", "error: algo._target_: there is no class nope.X\nhint: install nope"),
        ("algo._target_=os.system", "error: algo._target_: must be in metarl_run or a package named in plugins"),
        ("hydra/launcher=nope", "error: hydra/launcher: there is no option 'nope'"),
        ("+hydra.callbacks.x._target_=os.system", "error: hydra.callbacks: must be empty"),
        (
            "hydra.launcher._target_=os.system",
            "error: hydra.launcher._target_: must be a launcher or sweeper of Hydra's",
        ),
        ("hydra.launcher._target_=hydra.utils.os.system", "error: hydra.launcher._target_: must be a launcher"),
        (
            "hydra.job_logging.handlers.console.class=os.system",
            "error: hydra.job_logging.handlers.console.class: must be",
        ),
        (
            "hydra.job_logging.handlers.file.filename=ext://os.environ",
            "error: hydra.job_logging.handlers.file.filename: ",
        ),
        ("hydra.sweep.subdir=../x", "error: hydra.sweep.subdir: must stay inside"),
        ("+logger.files.api_key=hunter2", "error: logger.files.api_key: looks like a secret"),
        ("+x.api_key={hunter2", "error: x.api_key: looks like a secret"),
    ],
)
def test_mistakes_are_told_in_one_line_with_a_hint(argv: str, said: str) -> None:
    text = told(*argv.split(" "))
    assert text.startswith(said)
    assert len(text.splitlines()) <= 2
    assert "hunter2" not in text


@pytest.mark.parametrize("pair", [("algo=maml", "algo=reptile"), ("seed=1", "seed=1"), ("seed=1", "++seed=2")])
def test_the_same_key_twice_is_refused(pair: tuple[str, str]) -> None:
    key = pair[0].partition("=")[0]
    assert told(*pair) == f"error: {key}: is given twice\nhint: keep one of {pair[0]} and {pair[1]}"


# --- Sweeps ---


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("seed=" + "9" * 5000, "error: seed: its value cannot be read: Exceeds the limit"),
        ("seed=" + "[" * 300 + "]" * 300, "error: seed: must be nested at most 20 levels deep"),
        ("seed=" + "[" * 30 + "]" * 30, "error: seed: must be nested at most 20 levels deep"),
        ("a" * 5000 + "=1", "error: command line: must have keys of at most 300 characters, got aaa"),
        ("sweep=${oc.env:NOWHERE}", "error: sweep: "),
        ("checkpoint=", "error: checkpoint: must be a path, got an empty one"),
        ("--package=algo", "error: --package: only says what part of a configuration --cfg shows"),
    ],
)
def test_what_is_beyond_reason_is_told_as_such(argument: str, said: str) -> None:
    assert told(argument).startswith(said)


def test_more_minibatches_than_lifetimes_are_refused_where_they_are_asked_for() -> None:
    small = ("algo=rl2", "experiment=smoke", "meta_batch_size=1", "episodes_per_task=2")
    assert one(*small)["algo"]["minibatches"] == 4  # the default, of which there are two then
    assert told(*small, "algo.minibatches=3") == (
        "error: algo.minibatches: must be <= meta_batch_size · episodes_per_task = 2 lifetimes, got 3"
    )
    one(*small, "algo.minibatches=2")


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ("env.meta_train={gravity: 1}", "env.meta_train.gravity=2"),
        ("algo.meta_optimizer={lr: 2}", "++algo.meta_optimizer.lr=1"),
    ],
)
def test_a_value_and_a_part_of_it_are_refused(whole: str, part: str) -> None:
    key, parent = part.partition("=")[0].lstrip("+"), whole.partition("=")[0]
    for pair in ((whole, part), (part, whole)):
        assert told(*pair, "algo=maml").splitlines() == [
            f"error: {key}: is given together with {parent}, which holds it",
            f"hint: keep one of {whole} and {part}",
        ]
    (point,) = compose_points([FILES, part, whole], stored=[part]).points
    assert point.config["algo"]  # a run that was begun with one may go on with the other


@pytest.mark.parametrize("path", ["pkg://no.such", "file:///no/such"])
@pytest.mark.parametrize("flag", [(), ("--cfg", "job")])
def test_a_search_path_that_is_not_there_is_refused(path: str, flag: tuple[str, ...]) -> None:
    said = told(f"hydra.searchpath=[{path}]", *flag)
    name = path.partition("://")[2]
    assert said == f"error: hydra.searchpath: there is no {name}, as a folder or package of configurations"


@pytest.mark.parametrize(
    ("option", "packages"),
    [("hydra/launcher=submitit_slurm", "hydra-submitit-launcher submitit"), ("hydra/sweeper=ax", "hydra-ax-sweeper")],
)
def test_an_option_of_a_plugin_that_is_missing_comes_with_the_command_that_installs_it(
    option: str, packages: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, _, name = option.partition("=")
    monkeypatch.setattr("metarl_run.config.hydra_internals.ConfigLoaderImpl.get_group_options", lambda *_: [])
    assert told(option) == f"error: {group}: {name} is not installed\nhint: pip install {packages}"


def test_a_sweep_is_expanded_as_hydra_does() -> None:
    composed = compose_points(["-m", FILES, "algo=maml,scratch", "seed=range(2)", "algo.inner_lr=choice(0.1,0.2)"])
    assert composed.multirun
    assert [point.overrides[1:] for point in composed.points] == [
        (f"algo={algo}", f"seed={seed}", f"algo.inner_lr={lr}")
        for algo in ("maml", "scratch")
        for seed in (0, 1)
        for lr in (0.1, 0.2)
    ]
    assert composed.points[5].config["algo"]["inner_lr"] == 0.2


def test_glob_finds_all_options() -> None:
    composed = compose_points(["-m", FILES, "env=bandit", "algo=glob(r*)"])
    options = sorted(path.stem for path in (CONFIG_DIR / "algo").glob("r*.yaml"))
    assert [point.choices["algo"] for point in composed.points] == options


def test_hydra_mode_asks_for_a_sweep_too() -> None:
    assert len(compose_points([FILES, "hydra.mode=MULTIRUN", "seed=0,1,2"]).points) == 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            ["algo=maml,scratch", "algo.inner_lr=0.5,-1"],
            "error: algo.inner_lr: in algo=maml algo.inner_lr=-1, one of 4 combinations: must be a finite number > 0",
        ),
        (["algo=maml,nope", "seed=0,1"], "error: algo: there is no option 'nope'"),
        (["network=mlp,table"], "error: network: in network=table, one of 2 combinations: table requires"),
        (["seed=range(100000)"], "error: seed: must have at most 10000 values, got 100000"),
        (["algo.inner_lr=interval(0,1)"], "error: algo.inner_lr: cannot be swept over an interval"),
        (["hydra.job.name=a,b"], "error: hydra.job.name: is Hydra's own"),
    ],
)
def test_one_bad_point_refuses_the_sweep(argv: list[str], said: str) -> None:
    assert told("-m", FILES, *argv).startswith(said)


def test_flags_may_stand_anywhere() -> None:
    composed = compose_points([FILES, "seed=0,1", "-m", "algo=scratch"])
    assert len(composed.points) == 2
    assert composed.arguments == ("-m", FILES, "seed=0,1", "algo=scratch")


@pytest.mark.parametrize("flag", ["--cfg=job", "--info", "--hydra-help", "-sc"])
def test_flags_that_only_show_something_are_hydras(flag: str) -> None:
    composed = compose_points([flag] + (["install=bash"] if flag == "-sc" else []))
    assert composed.passthrough and composed.points == ()


# --- Configurations from outside ---


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "algo").mkdir(parents=True)
    return tmp_path / "conf"


def test_an_algorithm_from_outside_needs_a_folder_and_a_package(config_dir: Path, make_package: MakePackage) -> None:
    make_package(
        "toy",
        algo="from metarl_run.algo.base import MetaAlgorithm\nfrom metarl_run.kinds import Positive\n"
        "class Mine(MetaAlgorithm):\n    def __init__(self, *, speed: Positive): ...\n",
    )
    (config_dir / "algo" / "mine.yaml").write_text("_target_: toy.algo.Mine\nspeed: 3\n")
    flags = [f"--config-dir={config_dir}", FILES, "algo=mine"]
    assert compose_points([*flags, "plugins=[toy]"]).points[0].config["algo"]["speed"] == 3
    assert told(*flags).endswith("hint: if you trust it, add plugins=[toy]")
    assert told(*flags, "plugins=[toy]", "algo.speed=0").startswith("error: algo.speed: must be a finite number > 0")
    assert told(*flags, "plugins=[toy]", "algo.sped=1").endswith("hint: did you mean algo.speed?")


def test_a_file_cannot_name_the_packages_that_are_trusted(config_dir: Path) -> None:
    (config_dir / "algo" / "evil.yaml").write_text("# @package _global_\nplugins: [os]\nalgo: {_target_: os.system}\n")
    assert told(f"--config-dir={config_dir}", "algo=evil").startswith(
        "error: plugins: may only be named on the command"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: 1\n\tb: 2\n", "{path}:2: must be indented with spaces, got a tab"),
        (b"a: 1\na: 2\n", "{path}:2: has the key 'a' twice, first in line 1"),
        (b"a: !!python/name:os.system\n", "{path}:1: must be plain YAML"),
        (b"a: \xff\n", "{path}:1: must be UTF-8"),
        (b"_target_: ${x}\n", "algo._target_: Interpolation key 'x' not found"),
        (b"defaults: [nope]\n", "algo/mine: Could not load 'algo/nope'"),
        (b"password: hunter2\n", "algo.password: looks like a secret"),
        (b"", "algo._target_: is missing"),
    ],
)
def test_bad_files_are_told_by_file_and_line(config_dir: Path, text: bytes, said: str) -> None:
    path = config_dir / "algo" / "mine.yaml"
    path.write_bytes(text)
    out = told(f"--config-dir={config_dir}", "algo=mine")
    assert out.startswith(f"error: {said.format(path=path)}")
    assert "hunter2" not in out


def test_torch_is_imported_for_neither_good_nor_bad_configurations() -> None:
    code = f"""
import sys
from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError
compose_points(["{FILES}", "algo=maml"])
for bad in ("algo.inner_lr=-1", "network=table", "learner.policy=gaussian", "adaptation_steps=0"):
    try:
        compose_points(["{FILES}", bad])
    except ConfigError:
        continue
    raise AssertionError(bad)
heavy = {{"torch", "gymnasium", "wandb", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
