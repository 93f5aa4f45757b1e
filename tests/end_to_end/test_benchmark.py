"""scripts/benchmark: measured rows, absent peers, and refusals."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from black_box import ROOT, environment

PEERS = ("jax", "gymnax")
RATIOS = ("ratio", "ratio_low", "ratio_high")
POSITIVE = ("median_seconds", "steps_per_second", *RATIOS, "matmul_gflops", "onednn_gflops")


OPTIONS = ("--products", "onednn", "--compare", str(ROOT / "outputs" / "showcase" / "benchmark.json"), "--markdown")


def benchmark(*arguments: str, path: Path) -> "subprocess.CompletedProcess[str]":
    """Run the script with `path` first in the import path."""
    surroundings = environment()
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmark.py"), *arguments],
        env={**surroundings, "PYTHONPATH": os.pathsep.join([str(path), surroundings["PYTHONPATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Output and rows of a small measurement where no peer but gymnasium is installed."""
    folder = tmp_path_factory.mktemp("benchmark")
    for name in PEERS:
        (folder / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')")
    file = folder / "new" / "rows.json"
    ended = benchmark("--tiny", "--only", "rl2", "--only", "step", *OPTIONS, "--json", str(file), path=folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout, json.loads(file.read_text())


def test_every_chosen_workload_has_the_projects_row_and_those_of_installed_peers(result):
    found = [(row["workload"], row["case"], row["subject"]) for row in result[1]["rows"]]
    assert found == [
        ("step", "batch 20", "metarl-run"),
        ("step", "batch 20", "gymnasium"),
        ("rl2", "gru rollout", "metarl-run"),
        ("rl2", "gru rollout", "metarl-run compiled"),
        ("rl2", "gru update", "metarl-run"),
    ]


def test_figures_are_positive_and_finite_and_agree_with_each_other(result):
    for row in result[1]["rows"]:
        assert all(row[key] > 0 and math.isfinite(row[key]) for key in POSITIVE), row
        assert row["spread"] >= 0
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        steps = 100 * (row["batch"] if row["workload"] == "step" else row["lifetimes"])
        assert row["median_seconds"] * row["steps_per_second"] == pytest.approx(steps)
    assert all(
        0 < row["share_of_product"] < 1
        for row in result[1]["rows"]
        if (row["workload"], row["subject"]) == ("rl2", "metarl-run")
    )
    assert all(row["ratio"] == 1 for row in result[1]["rows"] if row["subject"] == "metarl-run")


def test_the_result_says_on_which_machine_and_with_which_versions(result):
    assert result[1]["machine"]["processor"]
    assert result[1]["machine"]["threads"] == 1
    assert result[1]["machine"]["products"]["plain, large"] == "onednn"
    assert result[1]["machine"]["gflops"]["plain, large"].keys() == {"mkl", "onednn"}
    for row in result[1]["rows"]:
        assert row["processor"].startswith(result[1]["machine"]["processor"])
        assert row["products"] == result[1]["machine"]["products"]
    assert {"metarl-run", "python", "torch", "gymnasium"} <= result[1]["versions"].keys()


def test_absent_peers_are_named_with_what_installs_them(result):
    printed, written = result
    assert {(row["workload"], row["subject"]) for row in written["absent"]} == {
        ("step", "gymnax"),
        ("step", "jax"),
        ("rl2", "jax"),
    }
    for name in PEERS:
        assert f"{name} is absent: pip install '.[bench]' (No module named '{name}')" in printed


def test_it_is_set_beside_another_measurement(result):
    lines = result[0].splitlines()
    assert any(line.startswith("- here: ") and "products by onednn" in line for line in lines)
    assert "- there: AMD EPYC, 1 thread" in lines
    ratio = next(row["ratio"] for row in result[1]["rows"] if row["subject"] == "gymnasium")
    assert f"| step | batch 20 | gymnasium | {ratio:.2f}× | 1.33× | {ratio / 1.3324518618070107:.2f} |" in lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "steps"), ("'steps'", "step", "rollout", "overhead")),
        (("--repeats", "0"), ("--repeats", ">= 1", "got 0")),
        (("--threads", "4096"), ("--threads", "at most", "got 4096")),
        (("--markdown",), ("--markdown", "--compare FILE")),
        (("--compare", "nowhere.json"), ("--compare", "nowhere.json cannot be read: No such file or directory")),
    ],
)
def test_unknown_arguments_are_refused_in_one_line(tmp_path, arguments, words):
    ended = benchmark(*arguments, path=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(word in line for word in words)
