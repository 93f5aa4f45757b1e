"""The picture of learned hyperparameters shows the columns of metrics.csv."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from metarl_run.report.run import learned

MakeRun = Callable[..., Path]
Drawn = Callable[..., Figure]

COLUMNS = {
    "meta_train/loss": (0.5, 0.4, 0.3),
    "meta_train/learned/step_size_1": (1.0, 2.0, 30.0),
    "meta_train/learned/step_size_2": (1.0, 0.9, 0.8),
    "meta_train/learned/discount": (0.99, 0.98, 0.97),
    "meta_train/learned/gae_lambda_1/policy.0.bias": (0.1, 0.2, 0.3),
    "meta_train/learned/gae_lambda_1/policy.0.weight": (0.4, 0.5, 0.6),
    "meta_train/learned/intrinsic_reward": (-0.1, 0.0, 0.2),
}


def with_metrics(folder: Path, columns: Mapping[str, Sequence[float]]) -> Path:
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        if columns:
            writer.writerow(["iteration", *columns])
            writer.writerows(zip((1, 2, 3), *columns.values(), strict=True))
    return folder


def test_every_line_is_a_column_over_the_iterations(make_run: MakeRun, tmp_path: Path, drawn: Drawn) -> None:
    figure = drawn(learned, with_metrics(make_run(tmp_path / "run"), COLUMNS))
    shown = {
        axes.get_title(loc="left"): [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
        for axes in figure.axes
    }
    expected = {name.removeprefix(learned.PREFIX): list(values) for name, values in COLUMNS.items()}
    assert shown == {
        "step size": [expected["step_size_1"], expected["step_size_2"]],
        "discount": [expected["discount"]],
        "gae lambda": [expected["gae_lambda_1/policy.0.bias"], expected["gae_lambda_1/policy.0.weight"]],
        "intrinsic reward": [expected["intrinsic_reward"]],
    }
    assert all(np.asarray(line.get_xdata()).tolist() == [1, 2, 3] for axes in figure.axes for line in axes.lines)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear", "linear", "linear"]
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        ["step 2", "step 1"],
        [],
        [],
        [],
    ]  # by height


@pytest.mark.parametrize("columns", [{}, {"meta_train/loss": (0.5, 0.4, 0.3)}], ids=["nothing", "others"])
def test_nothing_is_drawn_without_learned_hyperparameters(
    make_run: MakeRun, tmp_path: Path, columns: Mapping[str, Sequence[float]]
) -> None:
    folder = with_metrics(make_run(tmp_path / "run"), columns)
    before = sorted(folder.iterdir())
    assert learned.write(folder) == []
    assert sorted(folder.iterdir()) == before


def test_two_pictures_are_written_of_equal_bytes_for_equal_data(make_run: MakeRun, tmp_path: Path) -> None:
    one, other = (learned.write(with_metrics(make_run(tmp_path / name), COLUMNS)) for name in ("one", "other"))
    assert [path.name for path in one] == ["learned.png", "learned.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
