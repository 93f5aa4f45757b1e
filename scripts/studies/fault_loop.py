"""Fail or kill a run at every operation on its files, continue it, and compare every byte with an undisturbed run.

Each operation (mkdir, open, write, truncate, fsync, rename, unlink, rmdir) of a new run, of a resumed one, of one that
goes on with changes, and of a sweep fails with each of five error numbers, once or from then on, and is the moment of a
kill: before, within and after it. A failure must be told in one line with its path, by exit code 5; the newest
checkpoint stays whole; and the run, continued, ends in the same files, without any that should not be there.
"""

import argparse
import errno
import hashlib
import json
import platform
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
from black_box import SMALL, differences, summary
from faults import KILLED, Operations

from metarl_run.folders import checkpoints_in
from metarl_run.system.json_text import json_text

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
PLAN = (*SMALL, "meta_iterations=4")
NEW, RESUME = (*PLAN, "hydra.run.dir=run"), ("resume=run",)
VERBS = {
    "mkdir": "make",
    "open": "open",
    "write": "write",
    "ftruncate": "truncate",
    "fsync": "sync",
    "rename": "rename",
    "replace": "rename",
    "unlink": "remove",
    "rmdir": "remove",
}
"""What an error line says of an operation; `write` covers all that a write in one piece is made of."""


@dataclass(frozen=True)
class Scene:
    """A command whose operations go wrong.

    Attributes:
        command: in a copy of the folder `begun`.
        again: continues it where a run was begun; else `command` does.
        begun: command and number of the operation after which it was killed, None for none; None for an empty folder.
        runs: where the runs are.
    """

    command: Sequence[str]
    again: Sequence[str] = RESUME
    begun: tuple[Sequence[str], int | None] | None = None
    runs: Sequence[str] = ("run",)


MORE = ("resume=run", "meta_iterations=5", "allow_changes=true")
SWEEP = ("-m", *SMALL, "algo=random,ucb1", "env=bandit", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}")
SCENES = {
    "new": Scene(NEW),
    "resumed": Scene(RESUME, begun=(NEW, 95)),
    "changed": Scene(MORE, again=MORE, begun=(NEW, None)),
    "sweep": Scene(SWEEP, again=SWEEP, runs=("sweep/0", "sweep/1")),
}


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong: the operation of a scene, an error number or a kind of kill."""

    scene: str
    number: int
    kind: str
    path: str
    how: int | str
    lasting: bool = False

    def __str__(self) -> str:
        how = errno.errorcode[self.how] + " from then on" * self.lasting if isinstance(self.how, int) else self.how
        return f"{self.scene} {self.number} {self.kind} {self.path} {how}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="number of cases, drawn at random (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=[*SCENES], help="commands (default: all)")
    parser.add_argument("--json", type=Path, help="JSON file for the result, kept up to date")
    chosen = parser.parse_args()
    forked.prepare()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        loop = Loop(Path(place).resolve())
        cases = loop.cases(chosen.scenes)
        total = len(cases)
        if chosen.count is not None and chosen.count < total:
            cases = random.Random(chosen.seed).sample(cases, chosen.count)
        failures: list[tuple[Case, str]] = []
        for done, case in enumerate(cases, 1):
            failures += loop.examine(case)
            if chosen.json is not None:
                about = {"seed": chosen.seed, "possible": total, "seconds": round(time.monotonic() - begun)}
                write(chosen.json, about | loop.result(cases[:done], failures))
    bad = len({case for case, _ in failures})
    print(f"{len(cases) - bad} of {len(cases)} cases right, of {total} possible")
    return 1 if failures else 0


def write(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json_text(result), encoding="utf-8")


def by_kind(cases: Sequence[Case], failures: Sequence[tuple[Case, str]]) -> dict[str, dict[str, int]]:
    """Number of cases and of those that are wrong, by what goes wrong."""
    bad = {case for case, _ in failures}
    found: dict[str, dict[str, int]] = {}
    for case in cases:
        name = errno.errorcode[case.how] if isinstance(case.how, int) else f"killed {case.how}"
        entry = found.setdefault(name + " from then on" * case.lasting, {"cases": 0, "wrong": 0})
        entry["cases"] += 1
        entry["wrong"] += case in bad
    return found


class Loop:
    """All scenes, with what they make undisturbed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.whole: dict[str, Path] = {}
        self.operations: dict[str, int] = {}
        self.versions: dict[str, str] = {}
        self.trials = 0

    def cases(self, scenes: Sequence[str]) -> list[Case]:
        """Everything that can go wrong in these scenes."""
        found: list[Case] = []
        for name in scenes:
            scene = SCENES[name]
            forked.compose(*scene.command)
            folder = self._begin(scene, f"begun-{name}")
            whole = self._copy(folder)
            seen = operations_of(scene.command, whole)
            self.operations[name] = len(seen)
            self.whole[name] = whole
            self.versions = summary(whole / scene.runs[0])["versions"]
            for number, (kind, path) in enumerate(seen):
                found += [Case(name, number, kind, path, how) for how in (*ERRORS, *KILLED)]
                found.append(Case(name, number, kind, path, errno.ENOSPC, lasting=True))
        return found

    def result(self, cases: Sequence[Case], failures: Sequence[tuple[Case, str]]) -> dict[str, Any]:
        """Content of the JSON file."""
        return {
            "date": time.strftime("%Y-%m-%d"),
            "platform": platform.platform(),
            "versions": self.versions,
            "plan": PLAN,
            "operations": self.operations,
            "cases": len(cases),
            "wrong": len({case for case, _ in failures}),
            "by_kind": by_kind(cases, failures),
            "failures": [{"case": str(case), "problem": problem} for case, problem in failures],
        }

    def examine(self, case: Case) -> Iterator[tuple[Case, str]]:
        """What is wrong about one case; printed, too."""
        folder = self._copy(self.place / f"begun-{case.scene}")
        for problem in self._problems(case, folder):
            print(f"{case}: {problem}", flush=True)
            yield case, problem
        shutil.rmtree(folder)

    def _problems(self, case: Case, folder: Path) -> Iterator[str]:
        scene = SCENES[case.scene]
        operations = Operations(folder, case.number, case.how, lasting=case.lasting)
        done = forked.called(*scene.command, cwd=folder, first=operations.install)
        if isinstance(case.how, int):
            yield from misreported(case, done)
        elif done.returncode not in ((-9, 6) if case.scene == "sweep" else (-9,)):  # a job alone may have been killed
            yield f"was not killed: exit code {done.returncode}: {done.stderr.strip()}"
        for run in scene.runs:
            if saved := checkpoints_in(folder / run / "checkpoints"):
                yield from (f"{path.name} is not whole" for path in saved[-1:] if not is_whole(path))
        command = scene.again if all((folder / run / "run.json").exists() for run in scene.runs) else scene.command
        done = forked.called(*command, cwd=folder)
        if done.returncode != 0 or "using the one before" in done.stderr:
            yield f"continued: exit code {done.returncode}: {done.stderr.strip()}"
            return
        for run in scene.runs:
            if other := differences(self.whole[case.scene] / run, folder / run):
                yield f"{run} differs in {', '.join(other)}"

    def _begin(self, scene: Scene, name: str) -> Path:
        """A folder in which a scene begins."""
        folder = self.place / name
        folder.mkdir()
        if scene.begun is not None:
            command, killed_at = scene.begun
            operations = Operations(folder, killed_at, "after")
            done = forked.called(*command, cwd=folder, first=operations.install)
            assert done.returncode == (0 if killed_at is None else -9), done.stderr
        return folder

    def _copy(self, folder: Path) -> Path:
        self.trials += 1
        return Path(shutil.copytree(folder, self.place / f"trial-{self.trials}"))


def operations_of(command: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Kinds and paths, relative to the folder, of the operations of a command that is not disturbed."""
    with tempfile.TemporaryFile("w+") as log:

        def report(kind: str, path: str) -> None:
            log.write(f"{kind} {Path(path).relative_to(folder)}\n")
            log.flush()

        done = forked.called(*command, cwd=folder, first=Operations(folder, report=report).install)
        assert done.returncode == 0, done.stderr
        log.seek(0)
        return [(line.split(" ", 1)[0], line.rstrip("\n").split(" ", 1)[1]) for line in log]


def misreported(case: Case, done: forked.Ended) -> Iterator[str]:
    """What is wrong about how a failed operation was told."""
    said = done.stderr.strip()
    lines = [line for line in said.splitlines() if not line.startswith(("warning:", "hint:"))]
    codes = {5, 6} if case.scene == "sweep" else {5}
    if case.how in (errno.EACCES, errno.EROFS) and not Path(case.path).parent.name and "dir" in case.kind:
        codes = {2}  # output_root cannot be written
    if done.returncode not in codes:
        yield f"exit code {done.returncode}: {lines[-1:]}"
    elif not lines or any(not line.startswith("error: ") for line in lines) or (len(lines) > 1 and 6 not in codes):
        yield f"not one line: {lines}"
    elif not any(names(line, case) for line in lines):
        yield f"does not name path and operation: {lines}"


def names(line: str, case: Case) -> bool:
    """Does an error line name the path and the operation of a case?"""
    path = Path(case.path)
    name = re.sub(r"^\.(.*)\.tmp$", r"\1", path.name)
    said = name in line or re.sub(r"^\.(.*)\.tmp$", r"\1", path.parent.name) in line
    return said and re.search(rf"cannot ({VERBS[case.kind]}|write|be written)", line) is not None


def is_whole(path: Path) -> bool:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        hashed = hashlib.sha256((path / "tensors.pt").read_bytes()).hexdigest()
    except (OSError, ValueError):
        return False
    return bool(manifest["files"]["tensors.pt"]["sha256"] == hashed)


if __name__ == "__main__":
    sys.exit(main())
