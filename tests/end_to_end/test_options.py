"""Every option of every group runs through the real command."""

import importlib
import json

import pytest
from black_box import rows, summary
from conftest import VARIANTS
from forks import call
from suited import arguments_of, learns_from_data

from metarl_run.env.registration import configuration
from metarl_run.folders import CONFIG_DIR
from metarl_run.maths.statistics import COLUMNS, EXACT

GROUPS = ("env", "algo", "learner", "network")
ABSENT = {"metaworld"}
"""Needs an environment of its own, in which scripts/studies/meta_world runs it."""

OPTIONS = [
    (group, path.stem)
    for group in GROUPS
    for path in sorted((CONFIG_DIR / group).glob("*.yaml"))
    if path.stem not in {*VARIANTS, *ABSENT}
]


FEW_TASKS = {"half_cheetah_dir": 2, "gymnasium": 1, "tmaze": 2}


def family_of(env):
    module, _, name = configuration(env)["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_the_option_runs_and_leaves_a_whole_run_folder(group, option, tmp_path):
    chosen = arguments_of(group, option)
    short = ["env.horizon=10"] if group == "env" and family_of(option).simulated else []
    short += ["algo.updates=1", "algo.sequences=2"] if learns_from_data(group, option) else []
    done = call("experiment=smoke", "threads=1", *chosen, *short, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run"
    for name in (
        "config.yaml",
        "metrics.csv",
        "train.log",
        "adaptation_curve.png",
        "adaptation_curve.svg",
        "report.html",
    ):
        if name != "metrics.csv" or (folder / "checkpoints").exists():
            assert (folder / name).stat().st_size > 0

    told = summary(folder)
    assert told["status"] == "complete"
    assert told[group] == option
    curve = told["meta_test"]
    assert curve["adaptation_step"] == [0, 1, 2]
    for name in ("episodes_seen", "env_steps_seen", "mean", "iqm", "low", "high"):
        assert len(curve[name]) == 3
    assert all(low <= mean <= high for low, mean, high in zip(curve["low"], curve["mean"], curve["high"], strict=True))
    assert told["lifetime_return"]["low"] <= told["lifetime_return"]["mean"] <= told["lifetime_return"]["high"]
    (version,) = json.loads((folder / "run.json").read_text())["family_versions"]
    assert told["family_version"] == version and version.startswith("1")
    tasks = told["held_out_tasks"]["meta_test"]
    assert (tasks["number"], tasks["distinct"]) == (4, FEW_TASKS.get(told["env"], 4))

    table = rows(folder / "adaptation.csv")
    assert tuple(table[0]) == COLUMNS
    final = [row for row in table if row["split"] == "meta_test"]
    assert len(final) == 4 * 3
    for part, column in EXACT.items():
        cells = {row[column] == "" for row in table}
        assert cells == {part not in curve}  # all are empty, or none is
    assert ("optimum" in curve) == ("tabular" in family_of(told["env"]).provides)
    if "expected" in curve:
        assert all(float(row["expected_return"]) <= float(row["optimal_return"]) + 1e-9 for row in table)
    columns = {"mean": "episode_return", **EXACT}
    for part in columns.keys() & curve.keys():
        for step, mean in zip(curve["adaptation_step"], curve[part], strict=True):
            values = [float(row[columns[part]]) for row in final if int(row["adaptation_step"]) == step]
            assert sum(values) / len(values) == pytest.approx(mean)
