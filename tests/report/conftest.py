"""Hand-written run folders, so that every number in a report is known."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarl_run.maths.statistics import COLUMNS, curve_of
from metarl_run.report.figure import USUAL, PictureOptions
from metarl_run.report.sweep import panels

MakeRun = Callable[..., Path]
Trained = Callable[..., Path]
Drawn = Callable[..., Figure]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    def on_a_figure(report: Any, folder: Path) -> Figure:
        """The picture that the module `report` makes of `folder`, not saved but laid out, its artists to be asked."""
        figures = []

        def keep(
            name: Path, width: float, height: float, draw: Callable[[Figure], None], options: PictureOptions = USUAL
        ) -> list[Path]:
            with rc_context(options.style):
                figures.append(Figure(figsize=options.size or (width, height), dpi=200, layout="constrained"))
                FigureCanvasAgg(figures[-1])
                draw(figures[-1])
                figures[-1].canvas.draw()
            return []

        with monkeypatch.context() as patch:
            patch.setattr(report if hasattr(report, "save") else panels, "save", keep)
            report.write(folder)
        return figures[0]

    return on_a_figure


@pytest.fixture
def make_run() -> MakeRun:
    def make(
        folder: Path,
        *,
        algo: str = "maml",
        env: str = "cartpole_family",
        seed: int = 0,
        returns: Sequence[Sequence[float]] = ((10.0, 30.0), (20.0, 50.0)),
        config: Mapping[str, Any] | None = None,
        learner: str = "reinforce",
        expected: Sequence[Sequence[float]] | None = None,
        optimum: float | None = None,
        lifetime_returns: Sequence[float] | None = None,
        published: Mapping[str, Any] | None = None,
        task_hashes: Sequence[str] | None = None,
        success: Sequence[Sequence[float]] | None = None,
    ) -> Path:
        """One list per adaptation step, one number per task, in `returns`, `expected` and `success`.

        There is one `optimum` for all tasks. A step is 20 episodes of 100 steps.
        """
        folder.mkdir(parents=True)
        rows = [
            dict(zip(COLUMNS, ("meta_test", 5, task, step, 20 * step, 2000 * step, *numbers, seed), strict=True))
            for step, values in enumerate(returns)
            for task, value in enumerate(values)
            for numbers in [(value, expected[step][task] if expected else None, optimum)]
        ]
        if success:
            flat = [value for values in success for value in values]
            rows = [{**row, "success": value} for row, value in zip(rows, flat, strict=True)]
        with (folder / "adaptation.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerow(rows[0] | {"split": "meta_validation", "episode_return": -999.0})
            writer.writerows(rows)
        summary = {
            "status": "complete",
            "algo": algo,
            "env": env,
            "learner": learner,
            "network": "mlp",
            "seed": seed,
            "meta_test": curve_of(rows),
            "lifetime_return": {"mean": 1234.0, "low": 1200.0, "high": 1300.0},
            "wall_seconds": 60.0 + seed,
            "env_steps": 16_000_000,
            "env_steps_per_second": 412_345.0,
            **({"lifetime_returns": {"meta_test": list(lifetime_returns)}} if lifetime_returns else {}),
            **({"published": published} if published else {}),
            **({"task_hashes": {"meta_test": list(task_hashes)}} if task_hashes else {}),
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        if config is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, **config}))
        return folder

    return make


@pytest.fixture
def trained(make_run: MakeRun) -> Trained:
    def make(
        folder: Path, validated: Mapping[int, Sequence[Sequence[float]]], iterations: int = 6, **given: Any
    ) -> Path:
        """A run that was validated: by meta-iteration, a list per adaptation step of one return per task.

        A meta-iteration takes 100 environment steps and 2 s; its returns are its number before, and twice that after.
        """
        folder = make_run(folder, **given)
        with (folder / "adaptation.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == "meta_test"]
        for iteration, steps in validated.items():
            for step, values in enumerate(steps):
                for task, value in enumerate(values):
                    place = {"iteration": iteration, "adaptation_step": step, "task": task, "episode_return": value}
                    rows.append(rows[0] | {"split": "meta_validation"} | place)
        with (folder / "adaptation.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
        lines = [f"{i},{100 * i},{i},{2 * i},0.5" for i in range(1, iterations + 1)]
        head = "iteration,env_steps,meta_train/return_before,meta_train/return_after,meta_train/loss"
        (folder / "metrics.csv").write_text("\n".join([head, *lines]) + "\n")
        (folder / "timing.csv").write_text(
            "\n".join(["iteration,time/seconds", *(f"{i},2" for i in range(1, iterations + 1))])
        )
        return folder

    return make
