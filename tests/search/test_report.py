"""What a search leaves behind: its table, and the best point as an experiment and a command line."""

import csv
import json

import yaml

from metarl_run.config.compose import compose_points
from metarl_run.errors import NumericalError
from metarl_run.search.report import folder_of, write
from metarl_run.search.study import Study

GIVEN = ("experiment=smoke", "env=bandit", "algo/meta_optimizer=sgd", "env.horizon=7", "threads=1", "output_root=x")


def test_the_report_of_a_search(tmp_path, search_of, with_choice):
    search = search_of(
        with_choice, given=GIVEN, groups=("env", "algo", "algo/meta_optimizer"), trials=4, final_seeds=(3, 4)
    )
    study = Study(tmp_path, search)
    values = []
    for place, point in enumerate(study.next_points(4)):
        values.append(search.chosen(point.values))
        if place == 3:
            study.fail(point, NumericalError("loss", "must be finite, got nan"))
        else:
            study.complete(point, (1.0, 3.0, 2.0)[place])
    (fresh := tmp_path / folder_of(study.best, 4, final=True)).mkdir(parents=True)
    assert fresh.name == "point_001_seed_4"
    (fresh / "summary.json").write_text(json.dumps({"meta_test": {"mean": [0.0, 2.5]}}))
    report = write(tmp_path, study, ["--config-dir", "mine"])
    assert report.failed and report.fresh == {4: 2.5} and report.importance == {}
    assert report.command == ["--config-dir", "mine", *GIVEN, *values[1]]
    text = "\n".join(line for line, _ in report.lines())
    assert "search for a large meta_test.mean: 3 complete, 1 failed" in text
    assert text.index("3.00  point 1") < text.index("2.00  point 2") < text.index("1.00  point 0")
    assert f"failed: point 3: {' '.join(values[3])} · loss: must be finite, got nan" in text
    assert "the best with fresh seeds 4, in their held-out tasks: 2.50; mean 2.50" in text
    with (tmp_path / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["meta_test.mean"] for row in rows] == ["1.0", "3.0", "2.0", ""]
    assert (rows[3]["state"], rows[3]["reason"]) == ("fail", "loss: must be finite, got nan")
    assert [f"{key}={rows[1][key]}" for key in study.space] == values[1]
    assert (tmp_path / "search.png").stat().st_size > 10_000

    content = yaml.safe_load((tmp_path / "experiment/best.yaml").read_text())
    assert content["defaults"][:3] == ["smoke", "_self_", {"override /env": "bandit"}] and "threads" not in content
    (point,) = compose_points(["--config-dir", str(tmp_path), "experiment=best", "logger=files"]).points
    assert "SGD" in point.config["algo"]["meta_optimizer"]["_target_"] and point.config["env"]["horizon"] == 7
    (same,) = compose_points([*GIVEN, *values[1], "logger=files"]).points
    mine = {**point.config, "threads": 1, "output_root": "x"}
    assert mine == same.config and point.choices == {**same.choices, "experiment": "best"}


def test_a_search_without_a_complete_point_has_no_best(tmp_path, search_of):
    study = Study(tmp_path, search_of(trials=1))
    (point,) = study.next_points(1)
    study.fail(point, ValueError("odd"))
    report = write(tmp_path, study, [])
    assert report.failed and report.command == [] and [path.name for path in report.files] == ["search.csv"]
    assert any("failed: point 0" in line and "odd" in line for line, _ in report.lines())
