"""Learning curves from the files of runs, by hand."""

from collections.abc import Callable
from pathlib import Path

from metarl_run.report.folder import read_adaptation
from metarl_run.report.learning import Learning, learning_curve, read_learning, training_curve

Trained = Callable[..., Path]

VALIDATED = {2: ((1.0, 3.0), (5.0, 9.0)), 4: ((2.0, 2.0), (10.0, 20.0)), 6: ((0.0, 4.0), (30.0, 30.0))}


def read(folder: Path) -> Learning:
    return read_learning(folder, read_adaptation(folder))


def test_the_mean_before_and_after_with_steps_and_seconds_of_training(trained: Trained, tmp_path: Path) -> None:
    curve = learning_curve([read(trained(tmp_path / "run", VALIDATED))])
    assert curve["iteration"] == [2, 4, 6]
    assert curve["env_steps"] == [200, 400, 600] and curve["seconds"] == [4, 8, 12]
    assert curve["before"] == [2, 2, 2] and curve["after"] == [7, 15, 30]
    assert curve["after_low"][0] == 5 and curve["after_high"][0] == 9  # of two tasks
    assert curve["after_low"][2] == curve["after_high"][2] == 30


def test_seeds_count_alike_at_the_meta_iterations_that_all_have(trained: Trained, tmp_path: Path) -> None:
    """One was validated more often, and another was stopped early."""
    other = {1: ((0.0,), (0.0,)), 2: ((10.0,), (20.0,)), 4: ((10.0,), (20.0,))}
    runs = [read(trained(tmp_path / "a", VALIDATED)), read(trained(tmp_path / "b", other, iterations=4, seed=1))]
    curve = learning_curve(runs)
    assert curve["iteration"] == [2, 4]
    assert curve["before"] == [6, 6] and curve["after"] == [13.5, 17.5]
    assert 5 <= curve["after_low"][0] <= 7 and curve["after_high"][0] == 20  # either seed alone


def test_one_validation_task_has_no_interval(trained: Trained, tmp_path: Path) -> None:
    curve = learning_curve([read(trained(tmp_path / "run", {2: ((1.0,), (2.0,))}))])
    assert curve["after"] == [2] and curve["after_low"] == [None] == curve["before_high"]


def test_returns_on_training_tasks_are_means_of_blocks(trained: Trained, tmp_path: Path) -> None:
    curve = training_curve([read(trained(tmp_path / "run", VALIDATED))], 3)
    assert curve["iteration"] == [1.5, 3.5, 5.5] and curve["env_steps"] == [150, 350, 550]
    assert curve["before"] == [1.5, 3.5, 5.5] and curve["after"] == [3, 7, 11] and curve["seconds"] == [3, 7, 11]


def test_an_agent_that_learns_nothing_has_no_curve(trained: Trained, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", {})
    for name in ("metrics.csv", "timing.csv"):
        (folder / name).unlink()
    assert learning_curve([read(folder)])["iteration"] == [] and training_curve([read(folder)], 9)["after"] == []


def test_without_a_clock_there_are_no_seconds(trained: Trained, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", VALIDATED)
    (folder / "timing.csv").unlink()
    assert learning_curve([read(folder)])["seconds"] == [None, None, None]


def test_numbers_that_are_not_finite_are_left_out(trained: Trained, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", {**VALIDATED, 4: ((1.0, 2.0), (float("nan"), 2.0))})
    assert learning_curve([read(folder)])["iteration"] == [2, 6]
