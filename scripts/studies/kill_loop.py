"""Kill -9 the command at random moments, continue it until it finishes, and compare every byte with an undisturbed run.

Every algorithm is killed on three task families, in forks of a process that has imported everything; so is a sweep. A
table, a longer run and a compiled one are killed as processes of their own. After a kill the command is continued, and
perhaps killed again. Three negative controls follow, each of which must make a difference: the optimiser's state is
reset, rows after the last checkpoint are kept, the seed is changed.
"""

import argparse
import hashlib
import itertools
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import forked
import yaml
from black_box import SMALL, Running, call, differences, iterations_done, summary
from suited import completed, options

from metarl_run.errors import ConfigError
from metarl_run.folders import checkpoints_in
from metarl_run.system.json_text import json_text

FAMILIES = 3
AGAIN = 0.75
"""Probability that a command that goes on is killed, too."""
RUN, RESUME = "run", ("resume=run",)
SHORT = (*SMALL, "meta_iterations=5", "checkpoint_every=2", "validate_every=2", f"hydra.run.dir={RUN}")
CHECKPOINT_EVERY = 7
LONG = (
    *SMALL,
    "meta_iterations=200",
    f"checkpoint_every={CHECKPOINT_EVERY}",
    "validate_every=25",
    f"hydra.run.dir={RUN}",
)
SWEEP = ("-m", *SMALL, "algo=random,maml", "env=bandit", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}")
TABLE = (
    "experiment=rl2_bandits",
    "table.columns=[Random,TS]",
    "table.rows=['10,5']",
    "table.tasks=40",
    "table.tasks_at_once=5",
    "table.jobs=1",
    "table.output=table",
)


class Process(Protocol):
    """The command under way."""

    def ended(self) -> bool: ...
    def kill(self) -> object: ...
    def end(self) -> tuple[int, str, str]: ...


@dataclass
class Plan:
    """A command to be killed.

    Attributes:
        name: in the result.
        command: what starts it.
        kills: number of times that it is to be killed.
        runs: folders of its runs; empty for a table.
        resumed: whether `resume` continues it; otherwise the command itself does.
        forked: whether it runs in a fork, rather than as a process of its own.
        seconds: that it takes undisturbed.
    """

    name: str
    command: Sequence[str]
    kills: int
    runs: Sequence[str] = (RUN,)
    resumed: bool = True
    forked: bool = True
    seconds: float = field(default=0.0, init=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of kills (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (default: 0)")
    parser.add_argument("--json", type=Path, help="JSON file for the result, kept up to date")
    chosen = parser.parse_args()
    forked.prepare()
    forked.compose(*RESUME)
    with tempfile.TemporaryDirectory() as place:
        loop = Loop(Path(place), random.Random(chosen.seed), chosen.count)
        controls: dict[str, list[str]] = {}
        for _ in loop.kill(plans(chosen.count)):
            write(chosen.json, loop.result(chosen.seed, controls))
        controls |= {name: loop.control(name, spoil) for name, spoil in CONTROLS.items()}
        result = loop.result(chosen.seed, controls)
        write(chosen.json, result)
    caught = all(controls.values())
    print(f"{result['identical']} of {result['kills']} kills without a difference; controls caught: {caught}")
    return 0 if not loop.failures and caught else 1


def write(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_text(result), encoding="utf-8")


# --- What is killed ---


def plans(count: int) -> list[Plan]:
    """Commands, and how often each is killed, `count` times in all."""
    others = [
        Plan("sweep", SWEEP, count // 40, runs=("sweep/0", "sweep/1"), resumed=False),
        Plan("process", LONG, count // 100, forked=False),
        Plan("table", TABLE, count // 200, runs=(), resumed=False, forked=False),
    ]
    if shutil.which("c++") or shutil.which("g++"):
        others.append(Plan("process, compiled", (*LONG, "compile=true"), count // 500, forked=False))
    pairs = [(algo, env) for algo in options("algo") for env in families(algo)]
    share = count - sum(plan.kills for plan in others)
    small = [
        Plan(f"{algo} on {env}", command(algo, env), share // len(pairs) + (i < share % len(pairs)))
        for i, (algo, env) in enumerate(pairs)
    ]
    return [plan for plan in (*small, *others) if plan.kills]


def families(algo: str) -> list[str]:
    """Families that fit an algorithm: each time others first."""
    envs = options("env")
    start = options("algo").index(algo) % len(envs)
    return [*itertools.islice((env for env in envs[start:] + envs[:start] if fits(algo, env)), FAMILIES)]


def fits(algo: str, env: str) -> bool:
    try:
        completed(algo=algo, env=env)
    except ConfigError:
        return False
    return True


def command(algo: str, env: str) -> tuple[str, ...]:
    return (*SHORT, *(f"{group}={option}" for group, option in completed(algo=algo, env=env).items()))


# --- Killing and finishing ---


class Loop:
    """Kills, and what came of them."""

    def __init__(self, place: Path, generator: random.Random, asked: int) -> None:
        self.place, self.generator, self.asked = place, generator, asked
        self.begun = time.monotonic()
        self.kills: Counter[str] = Counter()
        self.phases: Counter[str] = Counter()
        self.failed_kills = 0
        self.failures: list[dict[str, Any]] = []
        self.trials = 0

    def result(self, seed: int, controls: dict[str, list[str]]) -> dict[str, Any]:
        import torch

        return {
            "date": time.strftime("%Y-%m-%d"),
            "platform": platform.platform(),
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "seed": seed,
            "asked": self.asked,
            "kills": self.kills.total(),
            "identical": self.kills.total() - self.failed_kills,
            "continued": self.trials,
            "seconds": round(time.monotonic() - self.begun),
            "phases": dict(self.phases.most_common()),
            "controls": controls,
            "failures": self.failures,
            "plans": dict(self.kills),
        }

    def kill(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Kill each plan as often as it asks for, all in turn; yields after each."""
        wholes: dict[str, Path | None] = {}
        while plans:
            for plan in plans:
                whole = wholes[plan.name] if plan.name in wholes else self._whole(plan)
                wholes[plan.name] = whole
                if whole is not None:
                    self._trial(plan, whole)
                yield
            plans = [plan for plan in plans if wholes[plan.name] is not None and self.kills[plan.name] < plan.kills]

    def _whole(self, plan: Plan) -> Path | None:
        """Folder of an undisturbed run; None if it fails, which is recorded."""
        folder = self._fresh("whole")
        if plan.forked and plan.resumed:
            forked.compose(*plan.command)
        begun = time.monotonic()
        code, _, error = start(plan, plan.command, folder).end()
        plan.seconds = time.monotonic() - begun
        if code == 0:
            return folder
        self._fail(plan, [], f"undisturbed: exit code {code}: {error.strip()}")
        return None

    def _trial(self, plan: Plan, whole: Path) -> None:
        """Kill a command, once or more, finish it and compare."""
        folder = self._fresh("killed")
        moments: list[str] = []
        problem, done = "", False
        while self.kills[plan.name] < plan.kills and (not moments or self.generator.random() < AGAIN):
            process = start(plan, next_command(plan, folder), folder)
            time.sleep(self.generator.random() * plan.seconds)
            if process.ended():
                code, _, error = process.end()
                done, problem = code == 0, f"exit code {code}: {error.strip()}"
                break
            process.kill()
            self.kills[plan.name] += 1
            moments.append(phase(plan, folder))
            self.phases[moments[-1]] += 1
        if not problem:
            code, _, error = start(plan, next_command(plan, folder), folder).end()
            done, problem = code == 0, f"exit code {code}: {error.strip()}"
        if done:
            problem = ", ".join(compared(plan, whole, folder))
        self.trials += bool(moments)
        if problem:
            self.failed_kills += max(1, len(moments))
            self._fail(plan, moments, problem)
        shutil.rmtree(folder)

    def _fail(self, plan: Plan, moments: Sequence[str], problem: str) -> None:
        print(f"{plan.name}: killed in {', '.join(moments) or 'nothing'}: {problem}", flush=True)
        self.failures.append(
            {"plan": plan.name, "command": [*plan.command], "killed in": [*moments], "problem": problem}
        )

    def _fresh(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.place))

    def control(self, name: str, spoil: Callable[[Path], None]) -> list[str]:
        """Differences at the end if `spoil` is applied to a run between kill and resume."""
        folder, whole = self._fresh(name), self._fresh("whole")
        assert call(*LONG, cwd=whole).returncode == 0
        running = Running(*LONG, cwd=folder)
        middle = 3 * CHECKPOINT_EVERY + CHECKPOINT_EVERY // 2  # rows after the last checkpoint
        running.wait_until(lambda: iterations_done(folder / RUN) >= middle)
        running.kill()
        spoil(folder / RUN)
        done = call(*RESUME, cwd=folder)
        found = differences(whole / RUN, folder / RUN) if done.returncode == 0 else []
        print(f"control {name}: {', '.join(found) or f'NOT CAUGHT {done.stderr.strip()}'}", flush=True)
        return found


class Separate(Running):
    """The command as a process of its own."""

    def ended(self) -> bool:
        return self.process.poll() is not None


def start(plan: Plan, arguments: Sequence[str], folder: Path) -> Process:
    return forked.Fork(*arguments, cwd=folder) if plan.forked else Separate(*arguments, cwd=folder)


def next_command(plan: Plan, folder: Path) -> Sequence[str]:
    """The command that continues; a run that died before it wrote run.json can only be started again."""
    return RESUME if plan.resumed and (folder / RUN / "run.json").exists() else plan.command


def phase(plan: Plan, folder: Path) -> str:
    """What a killed command was at, by what it left."""
    if len(plan.runs) != 1:
        return plan.name
    run = folder / plan.runs[0]
    if not (run / "run.json").exists():
        return "start"
    if any(run.glob("checkpoints/.*.tmp")):
        return "save"
    if (run / "summary.json").exists():
        return "report" if summary(run)["status"] == "reporting" else "end"
    config = yaml.safe_load((run / "config.yaml").read_bytes())
    saved = checkpoints_in(run / "checkpoints")
    trained = saved and int(saved[-1].name) >= config["meta_iterations"]
    return "meta-test" if trained else "meta-training"


def compared(plan: Plan, whole: Path, folder: Path) -> list[str]:
    """Names of what differs from what was not disturbed, and of what should not be there."""
    if plan.name == "table":
        names = [path.name for path in (whole / "table").iterdir() if path.suffix in (".md", ".tex", ".png", ".svg")]
        wrong = [
            name for name in names if (folder / "table" / name).read_bytes() != (whole / "table" / name).read_bytes()
        ]
        return wrong + [path.name for path in (folder / "table").rglob(".*")]
    found = [f"{run}/{name}" for run in plan.runs for name in differences(whole / run, folder / run)]
    if len(plan.runs) > 1:
        names = ["sweep/comparison.csv", "sweep/comparison.png"]
        found += [name for name in names if (folder / name).read_bytes() != (whole / name).read_bytes()]
    return found


# --- Negative controls ---


def as_from_before_hashes(manifest: dict[str, Any]) -> bytes:
    """A manifest whose hashes are not missed: as older versions wrote it."""
    manifest = {key: value for key, value in manifest.items() if key not in ("sha256", "config")}
    lengths = {name: value for name, value in manifest["positions"]["files"].items() if not name.endswith(".sha256")}
    return json.dumps({**manifest, "positions": {"files": lengths}}).encode()


def forget_optimizer(run: Path) -> None:
    """Set the meta-optimiser's moments to zero in every checkpoint."""
    for path in checkpoints_in(run / "checkpoints"):
        # In a process of its own: this one must stay without threads
        subprocess.run([sys.executable, "-c", ZEROED, str(path / "tensors.pt")], check=True)
        manifest = json.loads((path / "manifest.json").read_text())
        data = (path / "tensors.pt").read_bytes()
        manifest["files"]["tensors.pt"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (path / "manifest.json").write_bytes(as_from_before_hashes(manifest))


ZEROED = """
import io, sys, torch
state = torch.load(sys.argv[1], weights_only=True)
for tensors in state["algo"]["meta_optimizer"].values():
    for tensor in tensors:
        tensor.zero_()
buffer = io.BytesIO()  # as checkpoints are written: a file's name would become part of the archive
torch.save(state, buffer)
open(sys.argv[1], "wb").write(buffer.getvalue())
"""


def keep_rows(run: Path) -> None:
    """Set the file lengths that every checkpoint records to the current ones."""
    for path in run.glob("checkpoints/[0-9]*/manifest.json"):
        manifest = json.loads(path.read_text())
        lengths = manifest["positions"]["files"]
        for name in [name for name in lengths if not name.endswith(".sha256")]:
            lengths[name] = os.path.getsize(run / f"{name}.csv")
        path.write_bytes(as_from_before_hashes(manifest))


def change_seed(run: Path) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "seed": config["seed"] + 1}, sort_keys=False))
    for path in run.glob("checkpoints/[0-9]*/manifest.json"):
        path.write_bytes(as_from_before_hashes(json.loads(path.read_text())))


CONTROLS = {"forget_optimizer": forget_optimizer, "keep_rows": keep_rows, "change_seed": change_seed}


if __name__ == "__main__":
    sys.exit(main())
