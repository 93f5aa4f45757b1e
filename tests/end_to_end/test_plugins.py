"""Code of one's own: used when it is named, contained when it breaks, and never run because a file asks for it."""

import json
import os
from pathlib import Path

import pytest
import yaml
from black_box import SMALL, left_behind, summary
from forks import call

from metarl_run.config.compose import compose_points
from metarl_run.run.folder import versions

SOURCE = '''
from pathlib import Path

from metarl_run.algo.random import Random

Path("imported").touch()

class Mine(Random):
    """Works."""

class Breaks(Random):
    def act(self, agent, percept):
        raise RuntimeError("first line\\nsecond line")

class Leaves(Random):
    def act(self, agent, percept):
        raise SystemExit(0)

class Picky(Random):
    size: int
    def __post_init__(self):
        super().__post_init__()
        if self.size != 3:
            raise ValueError(f"size must be 3, got {self.size}")
'''
WORKS, BREAKS, LEAVES = (f"algo._target_=toy.{name}" for name in ("Mine", "Breaks", "Leaves"))
SHORT = (*SMALL, "algo=random", "env=random_mdp", "plugins=[toy]")


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package outside metarl_run, and a folder to work in."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "toy.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def test_code_of_ones_own_runs_once_it_is_named(toy):
    done = call(*SHORT, WORKS, "hydra.run.dir=run", cwd=toy)
    assert (done.returncode, done.stderr) == (0, "")
    assert summary(toy / "run")["status"] == "complete"


@pytest.mark.parametrize("size", [["+algo.size=4"], ["-m", "+algo.size=3,4"]])
def test_what_only_a_constructor_can_tell_is_told_before_anything_is_made(size, toy):
    done = call(*SHORT, "algo._target_=toy.Picky", *size, cwd=toy)
    assert (done.returncode, done.stderr) == (2, "error: algo.size: must be 3, got 4\n")
    assert [path.name for path in toy.iterdir()] == ["imported"]


def test_a_plugin_that_breaks_leaves_its_place_in_one_line_and_a_report_in_the_run_folder(toy):
    done = call(*SHORT, BREAKS, "hydra.run.dir=run", cwd=toy)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    place = toy.parent / "site" / "toy.py"
    assert line.startswith(f"error: {place}:13: RuntimeError in Breaks.act: first line (crash report: ")
    (report,) = (toy / "run").glob("crash-*.txt")
    assert str(report) in line
    assert "second line" in report.read_text()
    assert "in act" in report.read_text()
    told = summary(toy / "run")
    assert told["status"] == "failed"
    assert told["error"]["exit_code"] == 1
    assert left_behind(toy / "run") == []


@pytest.mark.parametrize(
    ("how", "said"), [(BREAKS, "RuntimeError in Breaks.act: first line"), (LEAVES, "SystemExit in Leaves.act: 0")]
)
def test_a_bug_in_one_job_does_not_stop_the_others(how, said, toy):
    targets = f"algo._target_={how.partition('=')[2]},toy.Mine"
    done = call("-m", *SHORT, targets, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}", cwd=toy)
    assert done.returncode == 6
    (line,) = done.stderr.splitlines()
    assert said in line
    assert "Traceback" not in done.stdout
    assert [summary(toy / "sweep" / job)["status"] for job in ("0", "1")] == ["failed", "complete"]
    assert len(list((toy / "sweep" / "0").glob("crash-*.txt"))) == 1
    assert "exit code 1" in done.stdout


# --- A run folder that came from somebody else ---


@pytest.fixture
def make_folder(toy):
    """A run folder as a stopped run leaves it, but for what `change` does to its configuration."""

    def make(change, overrides=()):
        (point,) = compose_points([*SMALL, "algo=random", "env=random_mdp"]).points
        config = json.loads(json.dumps(point.config))
        change(config)
        (toy / "run").mkdir()
        (toy / "run/config.yaml").write_text(yaml.safe_dump(config))
        record = {"choices": point.choices, "overrides": [*point.overrides, *overrides], "versions": versions()}
        (toy / "run/run.json").write_text(json.dumps(record))

    return make


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def foreign_algo(config):
    config["algo"] = {"_target_": "toy.Mine"}


def foreign_nested(config):
    config["logger"]["console"]["refresh_per_second"] = {"_target_": "toy.Mine"}


def trusting(config):
    foreign_algo(config)
    config["plugins"] = ["toy"]


def out_of_range(config):
    config["threads"] = 0


@pytest.mark.parametrize(
    ("change", "overrides", "arguments", "said"),
    [
        (foreign_algo, [], [], "algo._target_: must be in metarl_run"),
        (foreign_nested, [], [], "logger.console.refresh_per_second"),
        (trusting, [], [], "hint: add plugins=[toy]"),
        (dict.clear, [], [], "is missing"),
        (out_of_range, [], [], "threads: must be auto or an integer in [1, 4096]"),
        (lambda config: None, ["plugins=[toy]", WORKS], ["logger.console.plain_every=1"], "must be in metarl_run"),
        (lambda config: None, ["--config-dir=."], [], "--config-dir=."),
    ],
)
def test_a_run_folder_cannot_name_code_to_run(change, overrides, arguments, said, make_folder, toy):
    make_folder(change, overrides)
    before = contents(toy)
    done = call("resume=run", *arguments, cwd=toy)
    assert done.returncode in (2, 3), done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert contents(toy) == before  # `imported` would be among them


def test_plugins_named_again_are_trusted(make_folder, toy):
    make_folder(trusting)
    done = call("resume=run", "plugins=[toy]", cwd=toy)
    assert (done.returncode, done.stderr) == (0, "")
    assert (toy / "imported").exists()


@pytest.mark.parametrize("name", ["metrics.csv", ".owner", "summary.json", "checkpoints"])
def test_a_run_folder_cannot_lead_out_of_itself(name, make_folder, toy, tmp_path):
    make_folder(lambda config: None)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("mine")
    target = tmp_path / "precious" if name == "checkpoints" else tmp_path / "precious" / "data"
    os.symlink(target, toy / "run" / name)
    done = call("resume=run", cwd=toy)
    assert done.returncode == 3
    assert name in done.stderr
    assert contents(tmp_path / "precious") == {tmp_path / "precious" / "data": b"mine"}
