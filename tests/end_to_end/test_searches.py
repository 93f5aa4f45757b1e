"""A search as a user meets it: killed and continued, with a point that fails and one that is ended early."""

import csv
import shlex
import sqlite3

from black_box import SMALL, Running, call, left_behind, summary

TOY = """
from metarl_run.algo.maml import MAML
from metarl_run.errors import NumericalError

class Mine(MAML):
    def meta_update(self, live):
        if self.inner_lr > 50.0:
            raise NumericalError("loss", "must be finite, got nan")
        return super().meta_update(live)
"""
SPACE = "algo.inner_lr=0.1,20.0,99.0"
"""In the order of seed 3: 0.1, 99, 20, 0.1."""


def test_a_search_that_is_killed_goes_on_and_ends_with_the_best_point(tmp_path, monkeypatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path / "site")
    options = ("trials=4", "sampler=random", "pruner=hyperband", "final_seeds=[5]")
    search = ("hydra/sweeper=search", *(f"hydra.sweeper.{option}" for option in options))
    run = (*SMALL, "env=random_mdp", "env.horizon=10", "plugins=[toy]", "algo._target_=toy.Mine", "seed=3")
    folder = tmp_path / "s"
    running = Running("-m", *run, SPACE, *search, "hydra.sweep.dir=s", cwd=tmp_path)
    running.wait_until(lambda: (folder / "point_002_seed_1000").exists())
    running.kill()
    first = (folder / "point_000_seed_1000/summary.json").stat().st_mtime_ns
    done = call("resume=s", "plugins=[toy]", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    assert (folder / "point_000_seed_1000/summary.json").stat().st_mtime_ns == first
    names = [f"point_00{number}_seed_1000" for number in range(4)]
    assert [summary(folder / name)["status"] for name in names] == ["complete", "failed", "complete", "pruned"]
    assert summary(folder / names[3])["meta_iterations"] == 1
    with (folder / "search.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["algo.inner_lr"] for row in rows] == ["0.1", "99.0", "20.0", "0.1"]
    assert [row["state"] for row in rows] == ["complete", "fail", "complete", "pruned"]
    assert float(rows[0]["meta_test.mean"]) == summary(folder / names[0])["meta_test"]["mean"][-1]
    assert rows[1]["meta_test.mean"] == "" and rows[1]["reason"].startswith("loss of Mine: must be finite, got nan")
    final = summary(folder / "final/point_002_seed_5")
    assert final["status"] == "complete" and final["seed"] == 5
    (command,) = (line for line in done.stdout.splitlines() if line.startswith("metarl-run "))
    assert {*shlex.split(command)[1:]} == {*run[:-1], "algo.inner_lr=20.0"}
    assert "search for a large meta_test.mean: 2 complete, 1 pruned, 1 failed" in done.stdout
    assert left_behind(folder) == []

    other = call("-m", *run, "algo.inner_lr=interval(0.1,1)", *search, "hydra.sweep.dir=s", cwd=tmp_path)
    assert other.returncode == 3 and len(other.stderr.splitlines()) == 2
    assert "s/study.db: is the study of another search: algo.inner_lr is choice(0.1,20.0,99.0) there" in other.stderr
    with sqlite3.connect(folder / "study.db") as study:
        assert study.execute("select count(*) from trials").fetchone() == (4,)
