"""Sweeps over listed runs: which runs there are, and which of them a command line asks for."""

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.sweep import listed_runs, together
from metarl_run.errors import ConfigError

SWEEP = [
    {
        "panel": "by gradients",
        "given": ["meta_test.adaptation_steps=4"],
        "runs": ["algo=maml", "algo=maml_trpo seed=3"],
    },
    {"panel": None, "given": [], "runs": ["algo=random"]},
]
FAMILIES = ("experiment=families", "logger=files")


def told(*argv):
    with pytest.raises(ConfigError) as caught:
        compose_points(argv)
    return str(caught.value)


def test_the_runs_of_a_list():
    assert listed_runs(SWEEP) == [
        ('panel="by gradients"', "meta_test.adaptation_steps=4", "algo=maml", "sweep=null"),
        ('panel="by gradients"', "meta_test.adaptation_steps=4", "algo=maml_trpo", "seed=3", "sweep=null"),
        ("panel=null", "algo=random", "sweep=null"),
    ]
    assert listed_runs(None) == [()]


@pytest.mark.parametrize(
    "sweep, where",
    [
        (3, "sweep"),
        ([], "sweep"),
        ([{"panel": None, "given": [], "runs": ["algo=maml 'seed=1"]}], "sweep[0].runs"),
        ([{"panel": None, "runs": []}], "sweep[0]"),
        ([{"panel": None, "given": "seed=0", "runs": []}], "sweep[0].given"),
        ([*SWEEP, {"panel": None, "given": [], "runs": [["algo=maml"]]}], "sweep[2].runs"),
        ([{"panel": None, "given": [], "runs": ["maml"]}], "sweep[0].runs"),
    ],
)
def test_what_is_no_list_of_runs_is_named(sweep, where):
    with pytest.raises(ConfigError) as caught:
        listed_runs(sweep)
    assert caught.value.where == where


def test_the_command_line_goes_first_and_options_choose():
    run = ("algo=maml", "env=random_mdp", "algo.inner_lr=5", "sweep=null")
    assert together(run, ["seed=1"]) == [*run, "seed=1"]
    assert together(run, ["algo.inner_lr=3", "env=random_mdp"]) == [run[0], "sweep=null", "algo.inner_lr=3", run[1]]
    assert together(run, ["algo=rl2"]) is None


def test_the_last_of_several_values_counts():
    assert together(("meta_iterations=1", "algo=maml", "meta_iterations=2"), []) == ["meta_iterations=2", "algo=maml"]


def test_every_listed_run_with_every_seed():
    composed = compose_points([*FAMILIES, "algo=maml,random", "env=random_mdp", "seed=4,5"])
    assert composed.multirun and composed.lists
    found = [(p.choices["algo"], p.choices["env"], p.config["seed"]) for p in composed.points]
    assert found == [(algo, "random_mdp", seed) for algo in ("maml", "random") for seed in (4, 5)]
    assert all(point.config["sweep"] is None for point in composed.points)


def test_seeds_of_the_file_are_those_without_any_on_the_command_line():
    points = compose_points([*FAMILIES, "algo=maml", "env=random_mdp"]).points
    assert [point.config["seed"] for point in points] == [0, 1, 2, 3, 4]


def test_nothing_to_run_is_refused():
    assert told(*FAMILIES, "algo=gittins").startswith("error: algo: the sweep lists no run with algo=gittins")
    assert told(*FAMILIES, "algo=psrl", "env=cartpole_family").startswith("error: sweep: lists no run with")


def test_a_listed_run_that_cannot_be_is_named():
    sweep = "sweep=[{panel:a,given:[],runs:['algo=rl3 env=cartpole_family']}]"
    message = told("logger=files", sweep)
    assert message.startswith("error: algo: in ") and "algo=rl3 env=cartpole_family" in message
