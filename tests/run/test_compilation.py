"""compile=auto compiles where it pays, says so in the run's folder and stays with it."""

import json
import logging

import pytest
import torch
from suited import suited

from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS
from metarl_run.run import compilation
from metarl_run.run.agent import build_agent
from metarl_run.run.compilation import COST, compiles, evaluation_pays, seconds_saved
from metarl_run.run.folder import SEAL, json_bytes, seal
from metarl_run.seeding import Streams

MAML = ("algo=maml", "env=cartpole_family")


def run_of(*overrides):
    config = suited(*overrides)[0].config
    family, algo = build_agent(config, Streams(0, torch.device("cpu")))
    return config, algo, family


@pytest.fixture
def folder(tmp_path):
    record = {"format": 1, "choices": {group: "any" for group in GROUPS}}
    (tmp_path / "run.json").write_bytes(json_bytes({**record, SEAL: seal(record)}))
    return tmp_path


@pytest.fixture
def compiler(monkeypatch):
    """A compiler that works, until told otherwise."""
    state = {"works": True}

    def require(*_):
        if not state["works"]:
            raise ConfigError("compile", "must be false here: there is none")

    monkeypatch.setattr(compilation, "require_cxx", require)
    monkeypatch.setattr(compilation, "require_compiler", require)
    return state


def test_the_time_saved_by_hand():
    """80 iterations × 2 rollouts × 200 steps, each 100 µs and 0.1 µs for each of 20 × 20 environments."""
    assert seconds_saved(*run_of(*MAML, "meta_iterations=80", "algo.adaptation_steps=1")) == pytest.approx(
        80 * 2 * 200 * (100e-6 + 400 * 0.1e-6)
    )
    config, algo, family = run_of("algo=rl2", "env=random_mdp", "meta_iterations=7")
    envs = config["meta_batch_size"] * config["episodes_per_task"]
    steps = 7 * algo.episodes * family.horizon
    assert seconds_saved(config, algo, family) == pytest.approx(steps * (100e-6 + envs * 0.1e-6))


@pytest.mark.parametrize(
    "overrides",
    [
        ("algo=random", "env=cartpole_family"),
        (*MAML, "device=cuda"),
        ("algo=rl3", "env=random_mdp"),
        ("algo=maml", "env=gymnasium"),
        (*MAML, "normalise.observations=true"),
    ],
    ids=" ".join,
)
def test_nothing_is_saved_where_nothing_can_be_compiled(overrides):
    assert seconds_saved(*run_of(*overrides, "meta_iterations=100000")) == 0


@pytest.mark.parametrize("iterations", [80, 100_000])
def test_what_pays_is_compiled(iterations, folder, compiler):
    config, algo, family = run_of(*MAML, f"meta_iterations={iterations}")
    assert config["compile"] == "auto"
    assert compiles(config, algo, family, folder) == (iterations == 100_000)
    assert json.loads((folder / "run.json").read_text())["compiled"] == (iterations == 100_000)
    assert (seconds_saved(config, algo, family) > COST) == (iterations == 100_000)


def test_which_evaluations_pay_by_hand():
    """In parts of 50 tasks × 20 environments a step saves 100 + 100 µs, and there are two of 200 steps in each part."""
    _, algo, family = run_of(*MAML)

    def pays(tasks):
        plan = {"num_tasks": tasks, "adaptation_steps": 1, "episodes_per_task": 20}
        return evaluation_pays(plan, algo, family)

    least = int(COST / (2 * 200 * 200e-6)) + 1
    assert pays(50 * least)
    assert not pays(50 * (least - 1))
    assert not pays(50 * least + 1)  # one more program
    assert pays(50 * 2 * least + 1)
    assert not evaluation_pays(
        {"num_tasks": 10**6, "adaptation_steps": 1, "episodes_per_task": 1}, *run_of("algo=rl3", "env=random_mdp")[1:]
    )


@pytest.mark.parametrize("given", [True, False])
def test_what_is_given_counts(given, folder):
    config, algo, family = run_of(*MAML, f"compile={str(given).lower()}")
    assert compiles(config, algo, family, folder) is given
    assert "compiled" not in json.loads((folder / "run.json").read_text())


def test_the_choice_stands_though_more_is_left_to_do(folder, compiler):
    assert not compiles(*run_of(*MAML, "meta_iterations=80"), folder)
    assert not compiles(*run_of(*MAML, "meta_iterations=100000"), folder)


def test_without_a_compiler_runs_go_on_and_say_so(folder, compiler, caplog):
    config, algo, family = run_of(*MAML, "meta_iterations=100000")
    assert compiles(config, algo, family, folder)
    compiler["works"] = False
    with caplog.at_level(logging.WARNING):
        assert not compiles(config, algo, family, folder)
    assert [r.getMessage() for r in caplog.records] == [
        f"{folder} goes on without compiled rollouts: its result may differ by rounding"
    ]
