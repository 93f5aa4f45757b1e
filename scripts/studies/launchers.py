"""Sweeps on every launcher, a real SLURM of one node among them: killed, timed out, preempted, cancelled, rebooted.

Each case runs the command as a user does, and compares every byte of what its jobs leave with an uninterrupted sweep.
The result is JSON, kept up to date; cases that it holds already are not run again.

    agree          three points on each launcher
    killed         `kill -9` of the process of one job: it costs its job alone, which the resumed sweep runs again
    time_limit     300 iterations within time limits of two minutes: USR2, checkpoint, requeue, exact continuation
    out_of_time    the same with one requeue allowed: the job ends as failed, another is not concerned
    preemption     a job of a partition with higher priority takes the node for a while
    cancelled      `scancel`: TERM, checkpoint, exit code 143
    reboot         the node's daemon and all processes of jobs end at once, and the node comes back
    driver_gone    `kill -9` of the driver: the job that ends last writes the comparison
    array          an array of 100 points
    refusals       what is missing is told in one line, and nothing is started
    kills          a sweep of 20 points, 20 times `kill -9` of driver or jobs, resumed by another launcher each time
    overhead       100 jobs of about a second on joblib
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import black_box
import forks
from black_box import SMALL, Running, call, iterations_done, record, summary
from slurm_node import OneNode, versions

from metarl_run.system.json_text import json_text

LOCAL = {
    "basic": ("hydra/launcher=basic",),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    # all jobs at once, if not told otherwise
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=4"),
    "ray": ("hydra/launcher=ray", "+hydra.launcher.ray.init.num_cpus=2"),
}
SLURM = ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=low", "hydra.launcher.timeout_min=60")
LAUNCHERS = {**LOCAL, "submitit_slurm": SLURM}
LIMITED = (*SLURM[:2], "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=30")
"""SLURM counts time limits in minutes, and looks at them every half."""

SHORT = (*SMALL, "meta_iterations=20", "checkpoint_every=7", "validate_every=10")
POINTS = (*SMALL, "meta_iterations=60", "checkpoint_every=7", "validate_every=50")
MEDIUM = (*POINTS, "meta_batch_size=10", "episodes_per_task=5")
LONG = (*SMALL, "checkpoint_every=7", "validate_every=25", "meta_batch_size=10", "episodes_per_task=10")
TINY = (*SMALL, "algo=random", "env=bandit")


class Study:
    """Folders of sweeps, and uninterrupted ones to compare with.

    Args:
        place: for all of them.
        node: SLURM.
        generator: of random moments.
    """

    def __init__(self, place: Path, node: OneNode, generator: random.Random) -> None:
        self.place, self.node, self.generator = place, node, generator
        self.wholes: dict[tuple[str, ...], Path] = {}

    def folder(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.place))

    def whole(self, plan: Sequence[str]) -> Path:
        """The folder of an uninterrupted sweep by the basic launcher, of which there is one for each plan."""
        if tuple(plan) not in self.wholes:
            here = self.folder("whole")
            done = call("-m", *plan, "hydra.sweep.dir=sweep", cwd=here)
            require(done.returncode == 0, f"the uninterrupted sweep ended with {done.returncode}: {done.stderr}")
            self.wholes[tuple(plan)] = here / "sweep"
        return self.wholes[tuple(plan)]

    def compare(self, plan: Sequence[str], sweep: Path) -> int:
        """Number of files that equal those of the uninterrupted sweep, all of them."""
        ours, others = outcome(self.whole(plan)), outcome(sweep)
        different = [name for name in sorted({*ours, *others}) if ours.get(name) != others.get(name)]
        require(not different, f"{sweep} differs from the uninterrupted sweep in {', '.join(different)}")
        return len(ours)

    # --- Cases ---

    def agree(self) -> dict[str, Any]:
        plan, found = (*SHORT, "seed=0,1,2"), {}
        for name, launcher in LAUNCHERS.items():
            here, begun = self.folder(name), time.monotonic()
            done = call("-m", *plan, *launcher, "hydra.sweep.dir=sweep", cwd=here)
            require(done.returncode == 0, f"{name}: exit code {done.returncode}: {done.stderr}")
            equal = self.compare(plan, here / "sweep")
            found[name] = {"exit_code": 0, "files_equal": equal, "seconds": round(time.monotonic() - begun, 1)}
        return found

    def killed(self) -> dict[str, Any]:
        plan, found = (*MEDIUM, "seed=0,1,2"), {}
        for name, launcher in LAUNCHERS.items():
            here = self.folder(name)
            running = Running("-m", *plan, *launcher, "hydra.sweep.dir=sweep", cwd=here)
            jobs = [here / f"sweep/maml_cartpole_family_{seed}_{seed}" for seed in range(3)]
            running.wait_until(lambda jobs=jobs: iterations_done(jobs[1]) > 10)
            os.kill(holder(jobs[1]), signal.SIGKILL)
            killed_at = time.monotonic()
            code, out, err = running.end()
            seconds = time.monotonic() - killed_at
            ends = [summary(job)["status"] for job in jobs]
            # Ray runs a task again by itself
            wanted = (0, ["complete"] * 3) if name == "ray" else (6, ["complete", "failed", "complete"])
            require((code, ends) == wanted, f"{name}: exit code {code}, jobs {ends}: {out} {err}")
            lines = [line for line in err.splitlines() if line.startswith("error:")]
            require(name == "ray" or len(lines) == 1, f"{name}: {err}")
            done = call("resume=sweep", *launcher, cwd=here)
            require(done.returncode == 0, f"{name}: resumed: {done.returncode}: {done.stderr}")
            said = lines[0].partition("sweep/")[2] if lines else None
            equal = self.compare(plan, here / "sweep")
            found[name] = {"exit_code": code, "jobs": ends, "error": said, "seconds_after_the_kill": round(seconds, 1)}
            found[name] |= {"resumed": 0, "files_equal": equal}
        return found

    def time_limit(self) -> dict[str, Any]:
        plan, here = (*LONG, "meta_iterations=300", "seed=0"), self.folder("time_limit")
        begun = time.monotonic()
        done = call("-m", *plan, *LIMITED, "hydra.launcher.max_num_timeout=100", "hydra.sweep.dir=sweep", cwd=here)
        require(done.returncode == 0, f"exit code {done.returncode}: {done.stdout} {done.stderr}")
        (lives,) = self.lives(done.stdout)
        require(lives.count("REQUEUED") >= 3, f"lives of the job: {lives}")
        equal = self.compare(plan, here / "sweep")
        seconds = round(time.monotonic() - begun)
        return {"exit_code": 0, "lives": lives, "iterations": 300, "files_equal": equal, "seconds": seconds}

    def out_of_time(self) -> dict[str, Any]:
        plan, here = (*LONG, "seed=0", "meta_iterations=300,2"), self.folder("out_of_time")
        done = call("-m", *plan, *LIMITED, "hydra.launcher.max_num_timeout=1", "hydra.sweep.dir=sweep", cwd=here)
        jobs = [summary(here / f"sweep/maml_cartpole_family_0_{job}")["status"] for job in range(2)]
        require(done.returncode == 6 and jobs[1] == "complete", f"{done.returncode}, {jobs}: {done.stderr}")
        lines = done.stderr.splitlines()
        require(len(lines) == 1 and "too many times" in lines[0], done.stderr)
        done = call("resume=sweep", *LOCAL["joblib"], cwd=here)
        require(done.returncode == 0, done.stderr)
        return {"exit_code": 6, "jobs": jobs, "error": lines[0].partition("sweep/")[2], "resumed_by_joblib": 0}

    def preemption(self) -> dict[str, Any]:
        plan, running, job = self.begun("preemption")
        cpus = str(self.node.cpus)
        self.node.call("sbatch", "--partition=high", f"--ntasks={cpus}", "--output=/dev/null", "--wrap=sleep 10")
        code, out, err = running.end()
        require(code == 0, f"exit code {code}: {out} {err}")
        (lives,) = self.lives(out)
        require(len(lives) >= 2, f"lives of the job: {lives}")
        return {"exit_code": 0, "lives": lives, "files_equal": self.compare(plan, job.parent)}

    def cancelled(self) -> dict[str, Any]:
        plan, running, job = self.begun("cancelled")
        here = job.parent.parent
        done = iterations_done(job)
        number = array_of(here)
        self.node.call("scancel", number)
        code, out, err = running.end()
        saved = max(int(path.name) for path in (job / "checkpoints").glob("[0-9]*"))
        told = summary(job)
        step = self.node.call("sacct", "-n", "-P", "-j", f"{number}.0", "-o", "State,ExitCode").split()
        require(told["status"] == "interrupted" and told["error"]["exit_code"] == 143, str(told))
        require(code == 6 and saved >= done, f"exit code {code}, checkpoint {saved} after {done}: {out} {err}")
        again = call("resume=sweep", *SLURM, cwd=here)
        require(again.returncode == 0, again.stderr)
        found = {"exit_code": code, "job": told["error"], "slurm": step, "rows_before": done, "checkpoint": saved}
        return {**found, "error": err.strip(), "resumed": 0, "files_equal": self.compare(plan, job.parent)}

    def reboot(self) -> dict[str, Any]:
        plan, running, job = self.begun("reboot")
        self.node.crash_node()
        time.sleep(5)
        self.node.start_node()
        code, out, err = running.end()
        (lives,) = self.lives(out)
        require(code == 0 and len(lives) >= 2, f"exit code {code}, {lives}: {out} {err}")
        return {"exit_code": 0, "lives": lives, "files_equal": self.compare(plan, job.parent)}

    def driver_gone(self) -> dict[str, Any]:
        plan, found = (*MEDIUM, "seed=0,1,2"), {}
        for name in ("submitit_slurm", "submitit_local"):
            here = self.folder("driver_gone")
            running = Running("-m", *plan, *LAUNCHERS[name], "hydra.sweep.dir=sweep", cwd=here)
            running.wait_until(lambda here=here: any(here.glob("sweep/maml_*/metrics.csv")))
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            wait_for((here / "sweep/comparison.csv").exists)
            wait_for(lambda here=here: sorted(ends(here / "sweep")) == ["complete"] * 3)
            wait_for(lambda here=here: (here / "sweep/comparison.csv").read_text().count("maml") > 0)
            time.sleep(5)
            equal = self.compare(plan, here / "sweep")
            code = call("report", "sweep", cwd=here).returncode
            require(code == 0, "report")
            found[name] = {"comparison_written_by": "the job that ended last", "files_equal": equal, "report": code}
        return found

    def array(self) -> dict[str, Any]:
        here, begun = self.folder("array"), time.monotonic()
        done = call("-m", *TINY, "report=false", "seed=range(100)", *SLURM, "hydra.sweep.dir=sweep", cwd=here)
        require(done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-2000:]} {done.stderr}")
        (number,) = re.findall(r"in the queue of SLURM as (\d+)", done.stdout)
        states = self.node.call("sacct", "-X", "-n", "-P", "-j", number, "-o", "State").split()
        require(states == ["COMPLETED"] * 100 and ends(here / "sweep") == ["complete"] * 100, str(states))
        last = [line for line in done.stdout.splitlines() if "100 of 100" in line]
        require(len(last) == 1, done.stdout[-2000:])
        return {"exit_code": 0, "completed": 100, "seconds": round(time.monotonic() - begun)}

    def refusals(self) -> dict[str, Any]:
        here, found = self.folder("refusals"), {}
        nothing = str(self.folder("empty"))
        path = os.pathsep.join(part for part in os.environ["PATH"].split(":") if not (Path(part) / "srun").exists())
        quick = ("-m", *TINY, "seed=0,1", "hydra.sweep.dir=sweep")
        for name, command, changes, wanted in (
            ("no SLURM", (*quick, *SLURM), {"PATH": f"{path}:{nothing}"}, 2),
            ("launcher that is not installed", (*quick, "hydra/launcher=rq"), {}, 2),
            ("launcher that does not exist", (*quick, "hydra/launcher=slurn"), {}, 2),
            ("unknown key of a launcher", (*quick, *SLURM, "hydra.launcher.partitoin=low"), {}, 2),
            ("no job at a time", (*quick, "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"), {}, 2),
            ("an objective that no summary has", (*quick, "objective=meta_test.maen"), {}, 2),
            ("no such sweep", ("resume=sweep", "hydra/launcher=joblib"), {}, 3),
        ):
            done = call(*command, cwd=here, **changes)
            lines = done.stderr.splitlines()
            require(done.returncode == wanted and len(lines) <= 2 and lines[0].startswith("error: "), f"{name}: {done}")
            require(not (here / "sweep").exists(), f"{name}: something was started")
            found[name] = {"exit_code": done.returncode, "error": lines}
        done = call(*quick, *SLURM[:1], "hydra.launcher.partition=none", cwd=here)
        lines = done.stderr.splitlines()
        require(done.returncode == 5 and lines[-1].startswith("error: hydra/launcher"), f"refused by SLURM: {done}")
        found["partition that SLURM does not have"] = {"exit_code": done.returncode, "error": lines}
        require(call(*quick, cwd=here).returncode == 0, "sweep")
        for name, change in (("another result asked of a sweep", "seed=5"), ("another size", "meta_iterations=9")):
            done = call("resume=sweep", change, cwd=here)
            lines = done.stderr.splitlines()
            require(done.returncode in (2, 3) and len(lines) <= 2, f"{name}: {done}")
            found[name] = {"exit_code": done.returncode, "error": lines}
        return found

    def kills(self, count: int = 20) -> dict[str, Any]:
        plan, here = (*POINTS, "seed=range(20)"), self.folder("kills")
        self.whole(plan)
        names, log = [*LAUNCHERS], []
        first: tuple[str, ...] = ("-m", *plan, "hydra.sweep.dir=sweep")
        finished: dict[str, int] = {}
        while len(log) < count:
            name = names[len(log) % len(names)]
            target = self.generator.choice(("driver", "job"))
            running = forks.Running(*first, *LAUNCHERS[name], cwd=here)
            first = ("resume=sweep",)
            wait_for(lambda running=running: held(here / "sweep") or running.process.poll() is not None)
            require(running.process.poll() is None, f"{name} ended before it was killed: {len(log)} kills so far")
            time.sleep(4 * self.generator.random())
            jobs = held(here / "sweep")
            killed = target
            if target == "job" and jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.generator.choice(jobs), signal.SIGKILL)
                time.sleep(self.generator.random())
                killed = "job, then driver"  # so that the next launcher has something left to do
            running.kill()
            self.node.call("scancel", "--signal=KILL", "--full", "--partition=low")
            wait_for(lambda: not held(here / "sweep"))
            self.node.call("scancel", "--partition=low")
            wait_for(lambda: not self.node.call("squeue", "--noheader", "--partition=low").strip())
            finished = self.not_run_again(here / "sweep", finished)
            log.append({"launcher": name, "killed": killed, "finished": len(finished)})
            print(log[-1], file=sys.stderr, flush=True)
        done = forks.call(*first, *LAUNCHERS["joblib"], cwd=here)
        require(done.returncode == 0, f"at the end: {done.returncode}: {done.stderr}")
        self.not_run_again(here / "sweep", finished)
        return {"kills": log, "points": 20, "at_the_end": 0, "files_equal": self.compare(plan, here / "sweep")}

    def overhead(self, count: int = 100) -> dict[str, Any]:
        plan = (*SMALL, "meta_iterations=60", f"seed=range({count})", "validate_every=0", "checkpoint_every=60")
        found = {}
        for name, more in (("with pages", ()), ("report=false", ("report=false",))):
            here, begun, before = self.folder("overhead"), time.monotonic(), os.times()
            command = ("-m", *plan, *more, *LAUNCHERS["joblib"], "hydra.sweep.dir=sweep")
            done = call(*command, cwd=here)
            require(done.returncode == 0, f"{done.returncode}: {done.stderr}")
            after = os.times()
            processor = after.children_user + after.children_system - before.children_user - before.children_system
            jobs = [summary(path) for path in sorted((here / "sweep").glob("maml_*"))]
            learning = sum(training_seconds(path) for path in sorted((here / "sweep").glob("maml_*")))
            found[name] = {
                "jobs": len(jobs),
                "wall_seconds": round(time.monotonic() - begun, 1),
                "processor_seconds": round(processor, 1),
                "seconds_of_learning": round(learning, 1),
                "processor_seconds_beyond_learning_each": round((processor - learning) / len(jobs), 3),
                "load": os.getloadavg()[0],
            }
        return found

    # --- What they share ---

    def begun(self, name: str) -> tuple[Sequence[str], Running, Path]:
        """A sweep of one point in SLURM that has done some iterations."""
        plan, here = (*LONG, "meta_iterations=300", "seed=0"), self.folder(name)
        running = Running("-m", *plan, *SLURM, "hydra.sweep.dir=sweep", cwd=here)
        job = here / "sweep/maml_cartpole_family_0_0"
        running.wait_until(lambda: iterations_done(job) > 20)
        return plan, running, job

    def lives(self, out: str) -> list[list[str]]:
        """States in which SLURM has ended each job of an array, one after the other."""
        (number,) = re.findall(r"in the queue of SLURM as (\d+)", out)
        text = self.node.call("sacct", "-D", "-X", "-n", "-P", "-j", number, "-o", "JobID,State")
        found: dict[str, list[str]] = {}
        for line in text.splitlines():
            job, _, state = line.partition("|")
            found.setdefault(job, []).append(state)
        return [*found.values()]

    def not_run_again(self, sweep: Path, before: dict[str, int]) -> dict[str, int]:
        """When each finished job wrote its summary, which must stay."""
        now = {
            path.parent.name: path.stat().st_mtime_ns
            for path in sorted(sweep.glob("maml_*/summary.json"))
            if summary(path.parent)["status"] == "complete"
        }
        again = [name for name, when in before.items() if now.get(name) != when]
        require(not again, f"finished, and run again: {again}")
        return now


class Failed(Exception):
    """A case that did not end as it must."""


def require(true: bool, otherwise: str) -> None:
    if not true:
        raise Failed(otherwise)


def outcome(sweep: Path) -> dict[str, bytes]:
    """Everything of a sweep that no clock has touched."""
    found = {name: (sweep / name).read_bytes() for name in ("comparison.csv", "comparison.png")}
    for job in sorted(path.parent for path in sweep.glob("*/run.json")):
        found |= {f"{job.name}/{name}": data for name, data in record(job).items()}
    return found


def ends(sweep: Path) -> list[str]:
    return [json.loads(path.read_text())["status"] for path in sweep.glob("*/summary.json")]


def held(sweep: Path) -> list[int]:
    """Processes that are in runs of a sweep."""
    found = []
    for owner in sweep.glob("*/.owner"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = int(owner.read_text().split()[1])
            os.kill(number, 0)
            found.append(number)
    return found


def holder(job: Path) -> int:
    return int((job / ".owner").read_text().split()[1])


def array_of(here: Path) -> str:
    (folder,) = (path for path in (here / "sweep/.submitit").iterdir() if path.name.isdigit())
    return folder.name


def training_seconds(job: Path) -> float:
    """Of the iterations of a run, by its own clock."""
    return sum(float(row["time/seconds"]) for row in black_box.rows(job / "timing.csv"))


def wait_for(true: Callable[[], object], seconds: float = 900.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        require(time.monotonic() < deadline, "waited in vain")
        time.sleep(0.1)


CASES = (
    *("agree", "killed", "time_limit", "out_of_time", "preemption", "cancelled", "reboot", "driver_gone", "refusals"),
    *("kills", "overhead", "array"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES, help="cases (default: all)")
    parser.add_argument("--json", type=Path, help="file for the result; cases that it holds are not run again")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--place", type=Path, help="folder for all that is written (default: a temporary one)")
    parser.add_argument("--cpus", type=int, default=2, help="jobs side by side in SLURM (default: 2)")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that SLURM is ended
    cases: dict[str, Any] = {}
    if chosen.json is not None and chosen.json.exists():
        cases = json.loads(chosen.json.read_text())["cases"]
    with contextlib.ExitStack() as stack:
        place = chosen.place or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place.mkdir(parents=True, exist_ok=True)
        node = stack.enter_context(OneNode(place / "slurm", chosen.cpus))
        os.environ.update(node.environment)
        study = Study(place, node, random.Random(chosen.seed))
        for name in chosen.only:
            if name in cases and "failed" not in cases[name]:
                continue
            try:
                cases[name] = getattr(study, name)()
            except Failed as error:
                cases[name] = {"failed": str(error)}
            print(name, json.dumps(cases[name], ensure_ascii=False), flush=True)
            if chosen.json is not None:
                chosen.json.parent.mkdir(parents=True, exist_ok=True)
                chosen.json.write_text(json_text({**about(chosen.seed), "cases": cases}), encoding="utf-8")
    return 1 if any("failed" in case for case in cases.values()) else 0


def about(seed: int) -> dict[str, Any]:
    packages = ("hydra-core", "hydra-joblib-launcher", "hydra-submitit-launcher", "submitit", "hydra-ray-launcher")
    packages = (*packages, "ray", "torch", "cloudpickle")
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
            **versions(),
        },
        "seed": seed,
    }


if __name__ == "__main__":
    sys.exit(main())
