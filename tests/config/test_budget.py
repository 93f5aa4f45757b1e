"""Budgets: an experiment's numbers by name, one word on the command line."""

from pathlib import Path
from typing import Any

import pytest

from metarl_run.config.budget import check_budget
from metarl_run.config.compose import compose_points
from metarl_run.errors import ConfigError

EXPERIMENT = """\
# @package _global_
# Two budgets
budget: cpu
budgets:
  cpu: {meta_iterations: 3, held_out: 7, steps: 1, hidden: [4], gravity: 9.8}
  paper: {meta_iterations: 500, held_out: 1000, steps: 2, hidden: [64, 64], gravity: [uniform, 5, 15]}
meta_iterations: ${budgets.${budget}.meta_iterations}
meta_test: {num_tasks: "${budgets.${budget}.held_out}"}
algo: {adaptation_steps: "${budgets.${budget}.steps}"}
network: {hidden: "${budgets.${budget}.hidden}"}
env: {meta_train: {gravity: "${budgets.${budget}.gravity}"}}
"""
TWO = {"cpu": {"n": 1}, "paper": {"n": 9}}


@pytest.mark.parametrize(
    ("budget", "budgets", "said"),
    [
        (
            "paper",
            {},
            "error: budget: must be null, as this configuration has no budgets, got 'paper'\nhint: choose an",
        ),
        ("papre", TWO, "error: budget: must be one of cpu, paper, got 'papre'\nhint: did you mean paper?"),
        ("gpu", {"cpu": {}}, "error: budget: must be one of cpu, got 'gpu'\nhint: did you mean cpu?"),
        (None, TWO, "error: budget: must be one of cpu, paper, got null"),
        (["cpu"], TWO, "error: budget: must be one of cpu, paper, got ['cpu']"),
        (3, TWO, "error: budget: must be one of cpu, paper, got 3"),
        (None, 3, "error: budgets: must be a mapping of names to numbers, got 3"),
        ("cpu", {"cpu": 5}, "error: budgets.cpu: must be a mapping of names to numbers, got 5"),
        (
            "cpu",
            {"cpu": {"n": 1, "steps": 2}, "paper": {"n": 9, "stesp": 3}},
            "error: budgets.cpu: lacks stesp, which budgets.paper has\nhint: did you mean steps?",
        ),
    ],
)
def test_mistakes(budget: Any, budgets: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_budget(budget, budgets)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize(("budget", "budgets"), [(None, {}), ("cpu", TWO), ("paper", TWO)])
def test_no_mistakes(budget: Any, budgets: Any) -> None:
    check_budget(budget, budgets)


@pytest.fixture
def config_dir(tmp_path: Path) -> str:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "two.yaml").write_text(EXPERIMENT)
    return f"--config-dir={tmp_path}"


def values(config: dict[str, Any]) -> tuple[Any, ...]:
    return (
        config["meta_iterations"],
        config["meta_test"]["num_tasks"],
        config["algo"]["adaptation_steps"],
        config["network"]["hidden"],
        config["env"]["meta_train"]["gravity"],
        config["env"]["meta_test"]["gravity"],  # follows meta-training's, as ever
    )


CPU = (3, 7, 1, [4], 9.8, 9.8)
PAPER = (500, 1000, 2, [64, 64], ["uniform", 5, 15], ["uniform", 5, 15])


def test_a_budget_gives_numbers_of_any_kind_to_any_key(config_dir: str) -> None:
    for given, wanted in (([], CPU), (["budget=cpu"], CPU), (["budget=paper"], PAPER)):
        (point,) = compose_points([config_dir, "experiment=two", *given]).points
        assert values(point.config) == wanted
        assert all(type(value) is type(same) for value, same in zip(values(point.config), wanted, strict=True))


def test_budgets_can_be_swept(config_dir: str) -> None:
    points = compose_points([config_dir, "-m", "experiment=two", "budget=cpu,paper"]).points
    assert [values(point.config) for point in points] == [CPU, PAPER]


def test_a_number_of_a_budget_and_a_key_that_uses_one_can_be_overridden(config_dir: str) -> None:
    given = ["budgets.cpu.meta_iterations=4", "algo.adaptation_steps=3"]
    (point,) = compose_points([config_dir, "experiment=two", *given]).points
    assert values(point.config) == (4, 7, 3, [4], 9.8, 9.8)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["budget=papre"], "error: budget: must be one of cpu, paper, got 'papre'\nhint: did you mean paper?"),
        (["budget=null"], "error: budget: must be one of cpu, paper, got null"),
        (
            ["-m", "budget=cpu,papre"],
            "error: budget: in budget=papre, one of 2 combinations: must be one of cpu, paper",
        ),
        (["budgets.cpu.step=3"], "error: budgets.paper: lacks step, which budgets.cpu has\nhint: did you mean steps?"),
        (["budgets.cpu.steps=0"], "error: algo.adaptation_steps: must be an integer >= 1 with algo=maml, got 0"),
    ],
)
def test_mistakes_on_the_command_line(config_dir: str, argv: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_points([config_dir, "experiment=two", *argv])
    assert str(caught.value).startswith(said)


def test_without_an_experiment_there_are_no_budgets() -> None:
    with pytest.raises(ConfigError, match="this configuration has no budgets, got 'paper'"):
        compose_points(["budget=paper"])
    assert compose_points([]).points[0].config["budget"] is None
