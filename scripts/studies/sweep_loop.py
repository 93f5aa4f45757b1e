"""Kill -9 drivers and jobs of sweeps at random moments, start the sweeps again, and compare every byte.

Sweeps of four jobs, one after the other and two side by side. A driver that is killed must leave no process behind, and
a job that is killed must cost its job alone: the sweep ends with exit code 6, and the next start does what is missing.
A negative control follows: a sweep with another step size must differ.
"""

import argparse
import datetime
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from black_box import SMALL, Running, call, left_behind, record, summary

from metarl_run.system.json_text import json_text

JOBS = 4
PLAN = ("-m", *SMALL, f"seed=range({JOBS})", "meta_iterations=40", "checkpoint_every=7", "validate_every=25")
LAUNCHERS = {"basic": (), "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")}
PATIENCE = 10.0
"""Seconds after which a process without its driver counts as an orphan."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, help="number of kills (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--json", type=Path, help="file for the result")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = examine(Path(place), chosen.count, random.Random(chosen.seed))
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text({"seed": chosen.seed, **result}))
    print(f"{sum(result['kills'].values())} kills in {result['sweeps']} sweeps: {len(result['failures'])} failures")
    return 0 if not result["failures"] and result["control_was_caught"] else 1


def examine(place: Path, count: int, generator: random.Random) -> dict[str, Any]:
    """Kill `count` times, and go through the control; the content of the result."""
    kills: Counter[str] = Counter()
    failures: list[str] = []
    folder, sweeps = fresh(place, "whole"), 0
    begun = time.monotonic()
    end(folder, (), "whole", failures)
    seconds, whole = time.monotonic() - begun, outcome(folder)
    while kills.total() < count:
        name = list(LAUNCHERS)[sweeps % len(LAUNCHERS)]
        folder, sweeps = fresh(place, f"{name}{sweeps}"), sweeps + 1
        where = f"sweep {sweeps}, {name}"
        for _ in range(min(generator.randint(1, 4), count - kills.total())):
            target = generator.choice(("driver", "job"))
            if kill(folder, LAUNCHERS[name], target, seconds, generator, where, failures):
                kills[f"{name}: {target}"] += 1
        end(folder, LAUNCHERS[name], where, failures)
        for problem in differences(whole, outcome(folder)):
            report(failures, f"{where}: {problem}")
        print(f"{where}: {kills.total()} of {count}", file=sys.stderr, flush=True)
    other = fresh(place, "other")
    end(other, ("algo.inner_lr=0.11",), "control", failures)
    return {
        "plan": PLAN,
        "kills": dict(kills),
        "sweeps": sweeps,
        "failures": failures,
        "control_was_caught": bool(differences(whole, outcome(other))),
        "compared": sorted({name.partition("/")[2] or name for name in whole}),
        "uninterrupted_seconds": round(seconds, 2),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "versions": summary(place / "whole/sweep" / job_names()[0])["versions"],
    }


def kill(
    folder: Path,
    launcher: tuple[str, ...],
    target: str,
    seconds: float,
    generator: random.Random,
    where: str,
    failures: list[str],
) -> bool:
    """Start the sweep and kill its driver, or one of its jobs; True unless it ended before."""
    running = Running(*PLAN, *launcher, "hydra.sweep.dir=sweep", cwd=folder)
    pid = running.process.pid
    if target == "driver":
        time.sleep(seconds * generator.random())
        if running.process.poll() is not None:
            running.end()
            return False
        os.kill(pid, signal.SIGKILL)
        running.process.wait()
        if left := orphans(pid):
            report(failures, f"{where}: processes {left} outlive their driver")
        running.end()
        return True
    pause, killed = generator.random() * seconds / JOBS, False
    while running.process.poll() is None and not (jobs := children(pid)):
        time.sleep(0.02)
    time.sleep(pause)
    if running.process.poll() is None and (jobs := children(pid)):
        try:
            os.kill(generator.choice(jobs), signal.SIGKILL)
            killed = True
        except ProcessLookupError:  # it has just ended
            pass
    code, _, error = running.end()
    # One killed as it exits, or in the checks ahead of all jobs, has done all it was to do, or nothing
    if code not in ((5, 6, 0) if killed else (0,)) or "Traceback" in error:
        report(failures, f"{where}: exit code {code} after a job was killed: {error.strip()}")
    if code == 6 and "SIGKILL" not in error:
        report(failures, f"{where}: the job that was killed is not named: {error.strip()}")
    return killed


def end(folder: Path, more: tuple[str, ...], where: str, failures: list[str]) -> None:
    """Let the sweep run to its end."""
    done = call(*PLAN, *more, "hydra.sweep.dir=sweep", cwd=folder)
    if done.returncode != 0:
        report(failures, f"{where}: exit code {done.returncode} at the end: {done.stderr.strip()}")


def outcome(folder: Path) -> dict[str, bytes]:
    """Everything of a sweep that no clock has touched, and what should not be there."""
    sweep, found = folder / "sweep", {"comparison.csv": (folder / "sweep/comparison.csv").read_bytes()}
    for job in job_names():
        found |= {f"{job}/{name}": data for name, data in record(sweep / job).items()}
    return found | {f"{name} (left behind)": b"" for name in left_behind(sweep)}


def job_names() -> list[str]:
    return [f"maml_cartpole_family_{seed}_{seed}" for seed in range(JOBS)]


def differences(whole: dict[str, bytes], mine: dict[str, bytes]) -> list[str]:
    return [f"{name} differs" for name in sorted(whole.keys() | mine.keys()) if whole.get(name) != mine.get(name)]


def processes() -> list[tuple[int, int, int, str]]:
    """Of each process its id, its parent's, its group's and its state."""
    text = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True).stdout
    return [(int(a), int(b), int(c), state) for a, b, c, state in map(str.split, text.splitlines())]


def children(parent: int) -> list[int]:
    return [pid for pid, of, _, state in processes() if of == parent and state[0] != "Z"]


def orphans(group: int) -> list[int]:
    """Processes of a group that are still there after a while."""
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid, _, of, state in processes() if of == group and state[0] != "Z"]:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            return left
        time.sleep(0.05)
    return []


def report(failures: list[str], line: str) -> None:
    print(line, flush=True)
    failures.append(line)


def fresh(place: Path, name: str) -> Path:
    folder = place / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
