"""Mutation testing by sampling: small mistakes are made in the code, one at a time, and must be detected by tests.

A copy of the project is mutated, never the project itself. The tests of a mutant are the file named after its module
and those that import it or, if there are none, those that import a module which imports it. They run until the first
failure, in a process forked from one that has already imported torch. End-to-end tests do not count: they are slow, and
few check numbers.

Existing tools do not fit: mutmut replaces every function it mutates by one with (*args, **kwargs) and skips decorated
functions and constants, but constructors here are decorated and read from source before a run; cosmic-ray mutates the
working files and imports torch again for every mutant.
"""

import argparse
import ast
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from mutants import Mutant, mutants
from scipy.stats import beta

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "metarl_run"
SCOPE = ("metarl_run/algo", "metarl_run/learner", "metarl_run/evaluation.py", "metarl_run/table/statistics.py")
HEAVY = ("gymnasium", "scipy.stats")
"""Modules besides torch that most tests import, imported once before forking; pytest imports its plug-ins itself."""

BY_CONFIGURATION = ("test_contracts.py", "test_exact.py")
"""Tests of every component that conf/ names."""

COPIED = ("metarl_run", "conf", "tests", "scripts", ".github", "pyproject.toml", "README.md")


@dataclass(frozen=True)
class Outcome:
    """Outcome of one mutant.

    Attributes:
        file, line, kind, diff: the change.
        outcome: `killed` by a test, `timeout` (counts as killed), or `survived`.
        by: the test that failed first; empty if none did.
        seconds: duration of its tests.
    """

    file: str
    line: int
    kind: str
    diff: str
    outcome: str
    by: str
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=SCOPE, help=f"files or folders (default: {' '.join(SCOPE)})")
    parser.add_argument("--without", nargs="*", default=[], help="files to leave out")
    parser.add_argument("--sample", type=int, default=100, help="number of mutants (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default: 0)")
    parser.add_argument("--minutes", type=float, default=60, help="time after which no mutant is started (default: 60)")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "mutation", help="folder for the result")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in HEAVY:
        importlib.import_module(name)
    os.environ["OMP_NUM_THREADS"] = "1"
    end = time.monotonic() + 60 * chosen.minutes
    drawn, population = sample(files(chosen.paths, chosen.without), chosen.sample, chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
        outcomes = examine(copy, drawn, end)
    scope = {"paths": list(chosen.paths), "without": chosen.without, "seed": chosen.seed, "population": population}
    result = scope | score(outcomes)

    from metarl_run.system.json_text import (
        json_text,  # imported late: forked children import the package from their copy
    )

    chosen.out.mkdir(parents=True, exist_ok=True)
    full = result | {"mutants": [asdict(outcome) for outcome in outcomes]}
    (chosen.out / "mutation.json").write_text(json_text(full, ensure_ascii=False), encoding="utf-8")
    (chosen.out / "mutation.md").write_text(table(result, outcomes), encoding="utf-8")
    print(f"{chosen.out / 'mutation.md'}: {result['killed']} of {result['sample']} killed")
    return 0


# --- The sample ---


def files(paths: Sequence[str], without: Sequence[str] = ()) -> list[str]:
    """Source files in the given paths, relative to the project, in a fixed order."""
    found: list[Path] = []
    for path in (*paths, *without):
        place = ROOT / path
        if not place.exists():
            raise SystemExit(f"error: {path}: no such file or folder in {ROOT}; name one below {PACKAGE}/")
        found += sorted(place.rglob("*.py")) if place.is_dir() else [place]
    left_out = {(ROOT / path).resolve() for path in without}
    return [file.relative_to(ROOT).as_posix() for file in found if file.resolve() not in left_out]


def sample(names: Sequence[str], size: int, seed: int) -> tuple[list[tuple[str, Mutant]], int]:
    """Mutants drawn uniformly without replacement, and the number of all mutants."""
    everything = [(name, mutant) for name in names for mutant in mutants((ROOT / name).read_text(encoding="utf-8"))]
    drawn = random.Random(seed).sample(everything, min(size, len(everything)))
    return drawn, len(everything)


# --- The tests of a module ---


def imports(path: Path) -> set[str]:
    """Dotted names below the package that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names):
                found |= {module} | {f"{module}.{alias.name}" for alias in names}
    return {name for name in found if name.startswith(PACKAGE)}


def tests_of(root: Path, name: str) -> list[str]:
    """The test file named after a module and those that import it; else those of its importers; else of all conf/."""
    tests = [path for path in sorted((root / "tests").rglob("test_*.py")) if "end_to_end" not in path.parts]
    of_test = {path: imports(path) for path in tests}
    of_module = {dotted(path.relative_to(root)): imports(path) for path in (root / PACKAGE).rglob("*.py")}
    wanted = {dotted(Path(name))}
    own = root / "tests" / Path(name).relative_to(PACKAGE).with_name(f"test_{Path(name).name}")
    for _ in of_module:
        if found := [path for path in tests if path == own or of_test[path] & wanted]:
            first = sorted(found, key=lambda path: (path != own, path.stat().st_size))
            return [path.relative_to(root).as_posix() for path in first]
        wanted |= {module for module, imported in of_module.items() if imported & wanted}
    # A component that only a configuration names is imported nowhere: use the tests that go through all of conf/.
    return [path.relative_to(root).as_posix() for path in tests if path.name in BY_CONFIGURATION]


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


# --- Running ---


def examine(copy: Path, drawn: Sequence[tuple[str, Mutant]], end: float) -> list[Outcome]:
    """Test mutants in turn until `end`; every test file first runs once without a mutant and must pass."""
    outcomes: list[Outcome] = []
    usual: dict[str, float] = {}
    for number, (name, mutant) in enumerate(drawn, 1):
        if time.monotonic() > end:
            break
        tests = tests_of(copy, name)
        if fresh := [test for test in tests if test not in usual]:
            failed, seconds = run(copy, fresh, timeout=1800)
            if failed is not None:
                raise SystemExit(f"error: {failed or fresh} fails or never ends without a mutant; fix it first")
            usual |= {test: seconds / len(fresh) for test in fresh}
        file, original = copy / name, (copy / name).read_text(encoding="utf-8")
        written = file.stat().st_mtime
        file.write_text(mutant.text, encoding="utf-8")
        os.utime(file, (written + number, written + number))  # otherwise Python would load the compiled original
        try:
            failed, seconds = run(copy, tests, timeout=30 + 5 * sum(usual[test] for test in tests))
        finally:
            file.write_text(original, encoding="utf-8")
            os.utime(file, (written, written))
        outcome = {None: "survived", "": "timeout"}.get(failed, "killed")
        outcomes.append(
            Outcome(name, mutant.line, mutant.kind, mutant.diff(original), outcome, failed or "", round(seconds, 1))
        )
        print(f"{number}/{len(drawn)} {outcome:8} {name}:{mutant.line} {failed or ''}", file=sys.stderr, flush=True)
    return outcomes


def run(copy: Path, tests: Sequence[str], timeout: float) -> tuple[str | None, float]:
    """The first test that failed (None if none did, empty after a timeout) and the duration in seconds."""
    begun = time.monotonic()
    ours, theirs = Pipe(duplex=False)
    process = get_context("fork").Process(target=report, args=(copy, tests, theirs))
    process.start()
    theirs.close()
    try:
        failed = ours.recv() if ours.poll(timeout) else ""
    except EOFError:
        failed = "the interpreter"
    process.kill()
    process.join()
    return failed, time.monotonic() - begun


class First:
    """pytest plug-in that remembers the first failure."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and self.failed is None:
            self.failed = report.nodeid


def report(copy: Path, tests: Sequence[str], answer: Connection) -> None:
    """Run the tests in the copy, in a process of its own, and send which failed first."""
    sys.dont_write_bytecode = any((copy / PACKAGE).rglob("*.pyc"))
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    sys.path[:] = [str(copy), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    first = First()
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests], plugins=[first])
    answer.send(first.failed or (None if code == pytest.ExitCode.OK else f"pytest ({code.name})"))


# --- Output ---


def score(outcomes: Sequence[Outcome]) -> dict[str, float | int | list[float]]:
    """Number of killed mutants and the exact 95 % interval of their share (Clopper & Pearson 1934)."""
    n, k = len(outcomes), sum(outcome.outcome != "survived" for outcome in outcomes)
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return {"sample": n, "killed": k, "score": k / max(n, 1), "interval": [low, high]}


def table(result: dict[str, object], outcomes: Sequence[Outcome]) -> str:
    """The score, by kind of mutant, and every survivor."""
    (low, high), left_out = result["interval"], result["without"]
    text = [
        "# Mutation testing\n",
        f"Made by `scripts/mutation`: {result['sample']} of {result['population']} mutants, seed {result['seed']}, of"
        f" {listed(result['paths'])}{f', without {listed(left_out)}' if left_out else ''}. Killed: {result['killed']},"
        f" **{result['score']:.1%}**, 95 % interval [{low:.1%}, {high:.1%}] (Clopper–Pearson).\n",
        "| kind | killed | of |",
        "|---|---:|---:|",
    ]
    for kind in sorted({outcome.kind for outcome in outcomes}):
        mine = [outcome for outcome in outcomes if outcome.kind == kind]
        text.append(f"| {kind} | {sum(outcome.outcome != 'survived' for outcome in mine)} | {len(mine)} |")
    text.append("\n## Survivors\n")
    for outcome in outcomes:
        if outcome.outcome == "survived":
            text.append(f"`{outcome.file}:{outcome.line}` ({outcome.kind})\n\n```diff\n{outcome.diff}\n```\n")
    return "\n".join(text) + "\n"


def listed(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


if __name__ == "__main__":
    sys.exit(main())
