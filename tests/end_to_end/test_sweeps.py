"""Sweeps whose jobs or drivers die, and sweepers that search."""

import json
import os
import shlex
import signal
import time
from pathlib import Path

import black_box
import pytest
from black_box import SMALL, iterations_done, left_behind, summary
from forks import Running, call

TOY = """
import ctypes

from metarl_run.algo.random import Random

class Mine(Random):
    pass

class Crashes(Random):
    def act(self, agent, percept):
        ctypes.string_at(0)

class Raises(Random):
    def act(self, agent, percept):
        raise ValueError
"""
PROBE = """
import json
from pathlib import Path
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class ProbingSweeper(Sweeper):
    def __init__(self, direction, max_failure_rate, sampler):
        self.told = {"direction": direction, "max_failure_rate": max_failure_rate, "seed": sampler["seed"]}

    def setup(self, *, hydra_context, task_function, config):
        self.folder = Path(config.hydra.sweep.dir)
        self.launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments):
        arguments = [text for text in arguments if not text.startswith("algo._target_")]
        jobs = [[*arguments, f"algo._target_=toy.{name}"] for name in ("Mine", "Crashes", "Raises")]
        values = []
        for job in self.launcher.launch(jobs, initial_job_idx=0):
            try:
                values.append(job.return_value)
            except Exception as error:
                values.append(type(error).__name__)
        (self.folder / "told.json").write_text(json.dumps({**self.told, "values": values}))

node = {
    "_target_": "hydra_plugins.probing.ProbingSweeper", "direction": "minimize", "max_failure_rate": 0.0,
    "sampler": {"seed": None},
}
ConfigStore.instance().store(group="hydra/sweeper", name="probing", node=node, provider="probing")
"""
QUICK = (*SMALL, "algo=random", "env=random_mdp", "plugins=[toy]")
SIDE_BY_SIDE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with an algorithm that crashes and a sweeper that asks for one."""
    for name, source in (("toy.py", TOY), ("hydra_plugins/probing.py", PROBE)):
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def test_a_job_that_crashes_harms_no_other_and_is_named(here):
    arguments = ("-m", *QUICK, "algo._target_=toy.Crashes,toy.Mine,toy.Raises", "hydra.sweep.dir=sweep")
    done = call(*arguments, cwd=here)
    assert done.returncode == 6
    jobs = [here / f"sweep/random_random_mdp_0_{job}" for job in range(3)]
    assert [summary(job)["status"] for job in jobs] == ["failed", "complete", "failed"]
    line, other, *_ = done.stderr.splitlines()
    assert "ValueError" in other
    assert "random_random_mdp_0_2 failed in" in done.stdout and "3 of 3 · 2 failed" in done.stdout
    assert line.startswith(f"error: sweep/{jobs[0].name}: killed by SIGSEGV, in ") and "toy.Crashes" in line
    assert "exit code 5 · process: killed by SIGSEGV" in done.stdout
    assert "toy.py" in (jobs[0] / "train.log").read_text()  # with the line that crashed
    assert "SIGSEGV" in (here / "sweep/comparison.md").read_text()
    before = (jobs[1] / "summary.json").stat().st_mtime_ns
    works = "return super().act(agent, percept)"
    (here.parent / "site/toy.py").write_text(
        TOY.replace("ctypes.string_at(0)", works).replace("raise ValueError", works)
    )
    done = call("resume=sweep", "plugins=[toy]", *SIDE_BY_SIDE, cwd=here)
    assert done.returncode == 6  # a crash is tried again, an exception only where that is asked for
    assert [summary(job)["status"] for job in jobs] == ["complete", "complete", "failed"]
    assert "(tried before)" in done.stderr and "hint: retry_failed=true" in done.stderr
    assert call("resume=sweep", "plugins=[toy]", "retry_failed=true", cwd=here).returncode == 0
    assert summary(jobs[2])["status"] == "complete"
    assert (jobs[1] / "summary.json").stat().st_mtime_ns == before


def processes_of(group):
    """Processes of a group, zombies left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of, *_ = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(of) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks into /proc")
def test_a_driver_that_is_killed_takes_its_jobs_along_and_an_interrupted_one_says_how_to_go_on(tmp_path):
    arguments = ("-m", *SMALL, "seed=0,1", "meta_iterations=90", "checkpoint_every=25", "validate_every=0")
    folders = [tmp_path / "my sweep" / f"maml_cartpole_family_{seed}_{seed}" for seed in (0, 1)]
    for number in (signal.SIGKILL, signal.SIGINT):
        running = Running(*arguments, *SIDE_BY_SIDE, 'hydra.sweep.dir="my sweep"', cwd=tmp_path)
        goal = 10 + max(map(iterations_done, folders))
        running.wait_until(lambda goal=goal: min(map(iterations_done, folders)) >= goal)
        if number == signal.SIGKILL:
            os.kill(running.process.pid, number)
            running.process.wait()
            while processes_of(running.process.pid):
                time.sleep(0.01)
            running.end()
        else:
            os.killpg(running.process.pid, number)  # as a terminal does
    code, out, err = running.end()
    assert (code, err) == (130, "")
    assert [summary(folder)["status"] for folder in folders] == ["interrupted"] * 2
    assert [left_behind(folder) for folder in folders] == [[], []]
    (line,) = (line for line in out.splitlines() if "to go on" in line)
    done = call(*shlex.split(line.partition("metarl-run ")[2]), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [summary(folder)["status"] for folder in folders] == ["complete"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["my sweep"]


def test_a_sweeper_that_searches_gets_the_objective(here):
    arguments = ("-m", *QUICK, "algo._target_=toy.Mine", "seed=3", "hydra/sweeper=probing", "hydra.sweep.dir=s")
    done = black_box.call(*arguments, cwd=here)  # a process that looks for Hydra's plugins itself
    assert done.returncode == 6, done.stderr
    told = json.loads((here / "s/told.json").read_text())
    best = summary(here / "s/random_random_mdp_3_0")["meta_test"]["mean"][-1]
    assert told == {
        "direction": "maximize",
        "max_failure_rate": 1.0,
        "seed": 3,
        "values": [best, "ResourceError", "PluginError"],
    }
