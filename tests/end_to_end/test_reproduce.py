"""A paper's table from one command: run, interrupted, run again, reported."""

import json
import re
import signal
import sys

import black_box
import pytest
from black_box import ROOT, left_behind
from forks import Running, call

REPRODUCE = ROOT / "scripts" / "reproduce.py"
REDUCED = ("--columns", "Random", "PSRL", "--rows", "10", "25", "--tasks", "100", "--jobs", "1", "--output", "table")


def reproduce(*arguments, cwd):
    """Run scripts/reproduce; what it said."""
    return call(*arguments, cwd=cwd, script=REPRODUCE)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


def numbers(folder):
    """table.json without what a clock says."""
    record = json.loads((folder / "table.json").read_text())
    for cell in record["cells"]:
        del cell["seconds"], cell["tuning_seconds"]
    return record


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reduced")
    as_its_wrapper_does = [sys.executable, str(REPRODUCE), "rl2_mdps", *REDUCED]
    return folder, black_box.ended(as_its_wrapper_does, folder)


def test_a_reduced_table_stands_beside_the_papers(reduced):
    folder, done = reduced
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads((folder / "table" / "table.json").read_text())
    cells = {(cell["block"], cell["row"], cell["column"]): cell for cell in record["cells"]}
    assert len(cells) == 6  # Random believes nothing, so it has one block
    random = cells["as published", "10", "Random"]
    assert random["status"] == "complete" and (random["paper"], random["tolerance"]) == (100.1, 2.5)
    for cell in cells.values():
        assert cell["low"] < cell["ours"] < cell["high"]
        assert cell["matched"] in (False, None)  # a tenth of the paper's tasks is too few to match anything
        assert cell["difference"] == pytest.approx(cell["ours"] - cell["paper"])
        assert abs(cell["difference"]) < 20  # four standard errors of 100 tasks and more
    assert {"plain, large", "compiled"} < json.loads((folder / "table" / "products.json").read_text())[
        "products"
    ].keys()
    assert "as published: 4 cells" in done.stdout
    for ending in ("json", "md", "tex", "png", "svg"):
        assert (folder / "table" / f"table.{ending}").stat().st_size > 500
    assert left_behind(folder) == []


def test_what_is_finished_is_skipped_and_reports_are_made_of_files_alone(reduced):
    folder, first = reduced
    before = times(folder)
    made = {path.name: path.read_bytes() for path in (folder / "table").glob("table.*")}
    again = reproduce("rl2_mdps", *REDUCED, cwd=folder)
    assert again.returncode == 0 and "done" not in again.stdout
    for path in (folder / "table").glob("table.*"):
        path.unlink()
    report = reproduce("rl2_mdps", "--report-only", "--output", "table", cwd=folder)
    assert (report.returncode, report.stderr) == (0, "")
    assert times(folder) == before
    assert {path.name: path.read_bytes() for path in (folder / "table").glob("table.*")} == made
    assert report.stdout == again.stdout and report.stdout in first.stdout


TABLE = ("experiment=rl2_mdps", "table.columns=[PSRL]", "table.rows=[10]", "table.tasks=100", "table.tasks_at_once=10")
STOPPED = (*TABLE, "table.jobs=1", "table.output=stopped")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_table_goes_on_where_it_was(number, code, tmp_path):
    running = Running(*STOPPED, cwd=tmp_path)
    running.wait_until(lambda: len(times(tmp_path)) >= 2)
    running.signal(number)
    returncode, _, err = running.end()
    assert returncode == code and "Traceback" not in err
    kept = times(tmp_path)
    assert 2 <= len(kept) < 20 and left_behind(tmp_path) == []
    if number == signal.SIGINT:
        assert call(*STOPPED, cwd=tmp_path).returncode == 0
        assert kept.items() <= times(tmp_path).items()
        assert call(*TABLE, "table.jobs=2", "table.output=whole", cwd=tmp_path).returncode == 0
        assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")


TOY = """
import os
from metarl_run.algo.random import Random
class Breaks(Random):
    def act(self, agent, percept):
        raise RuntimeError("out of order")
class Dies(Random):
    def act(self, agent, percept):
        os.kill(os.getpid(), 9)
"""
FAILING = """\
# @package _global_
# A table of which two columns fail
defaults:
  - /table@table
  - /algo@table.agents.Random.algo: random
  - _self_
  - override /env: random_mdp
table:
  title: two that fail
  source: nobody
  agents:
    Breaks: {algo: {_target_: table_toy.Breaks}}
    Dies: {algo: {_target_: table_toy.Dies}}
  protocol:
    "1": {episodes: 1, tolerance: 1.0, published: {Random: 10.0, Breaks: 11.0, Dies: 12.0}}
"""


def test_a_failing_cell_is_shown_with_its_seed_and_stops_no_other(tmp_path, monkeypatch):
    (tmp_path / "table_toy.py").write_text(TOY)
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "failing.yaml").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    given = ("--config-dir=conf", "plugins=[table_toy]", "experiment=failing", "table.tasks=20", "seed=7")
    done = call(*given, "table.jobs=1", cwd=tmp_path)
    assert done.returncode == 6, done.stderr
    folder = tmp_path / "outputs" / "failing"
    cells = {cell["column"]: cell for cell in json.loads((folder / "table.json").read_text())["cells"]}
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "Random": "complete",
        "Breaks": "failed",
        "Dies": "failed",
    }
    assert cells["Breaks"]["failed_seeds"] == [7] and cells["Breaks"]["ours"] is None
    told = [
        line for line in done.stdout.splitlines() if line.startswith("failed: Breaks at n=1 (as published), seed 7: ")
    ]
    assert len(told) == 1 and re.search(r"table_toy\.py:\d+: RuntimeError in Breaks\.act: out of order", told[0])
    assert "failed: Dies at n=1 (as published), seed 7: worker process: ended with signal 9" in done.stdout
    assert len(list(folder.rglob("crash-*.txt"))) == 1  # in the folder of the cell
    (tmp_path / "table_toy.py").write_text(
        TOY.replace("raise RuntimeError", "return super().act(agent, percept); raise")
    )
    again = call(*given, "table.columns=[Random,Breaks]", cwd=tmp_path)
    assert again.returncode == 0 and "[1/1] Breaks" in again.stdout  # what failed is tried again, nothing else


BAD = {
    "no such table": (["rl2_mpds"], "table: there is no 'rl2_mpds'", "rl2_mdps"),
    "a run, not a table": (["rl2_mdp_n10"], "table: there is no 'rl2_mdp_n10'", ""),
    "no such column": (["rl2_mdps", "--columns", "PSLR"], "table.columns: there is no 'PSLR'", "PSRL"),
    "no such row": (["rl2_mdps", "--rows", "11"], "table.rows: there is no '11'", "10"),
    "no such flag": (["rl2_mdps", "--job", "1", "--tsks", "1"], "command line: unrecognized arguments", "--help"),
    "too few tasks": (["rl2_mdps", "--tasks", "1"], "table.tasks: must be an integer >= 2, got 1", ""),
    "no jobs": (["rl2_mdps", "--jobs", "0"], "table.jobs: must be an integer >= 1, got 0", ""),
    "no such key": (["rl2_mdps", "table.taskz=3"], "table.taskz: unknown key", "tasks"),
    "a cell's own key": (["rl2_mdps", "env.horizon=3"], "env.horizon: cannot be given with a table", ""),
    "no published value": (["rl2_mdps", "~table.protocol.75.published.PSRL"], "75.published.PSRL: is missing", ""),
    "no such setting": (["rl2_mdps", "table.agents.BEB.grid={scal:[1.0]}"], "table.agents.BEB.algo.scal: unknown", ""),
    "a bad setting": (["rl2_mdps", "table.agents.OPSRL.grid.num_samples=[0]"], "table.agents.OPSRL.algo.num_sam", ""),
    "an agent that is none": (["rl2_mdps", "table.agents.PSRL.algo=null"], "table.agents.PSRL: must have either", ""),
    "no checkpoint": (["rl2_mdps", "--columns", "RL2", "--no-train"], "table.checkpoints: holds no finished run", ""),
    "no such checkpoints": (["rl2_mdps", "--checkpoints", "nowhere"], "table.checkpoints: there is no folder", ""),
    "only learned columns": (["rl3"], "table.columns: must name a learned column", "RL3"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused_in_one_line_and_nothing_is_created(name, tmp_path):
    arguments, told, hint = BAD[name]
    done = reproduce(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("error: ") and told in lines[0]
    assert len(lines) <= 2 and all(line.startswith("hint: ") for line in lines[1:])
    assert hint in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_nothing_is_no_report(tmp_path):
    done = reproduce("rl2_mdps", "--report-only", cwd=tmp_path)
    assert done.returncode == 3 and "holds no finished cell to report" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_no_job_of_a_sweep(tmp_path):
    done = call("-m", "experiment=rl2_mdps", "seed=0,1", cwd=tmp_path)
    assert done.returncode == 2 and "table: is made by one command" in done.stderr
    assert list(tmp_path.iterdir()) == []
