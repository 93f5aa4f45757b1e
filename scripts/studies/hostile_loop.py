"""Resume, or start from, damaged and hostile variants of run folders, and count what comes of it.

Each variant is made from a cut run by one function of `tests/hostile.py`. The command must refuse it with exit code 3,
or go on from what is whole and end in the same rows and parameters. It runs in forks of this process, which draw no
pictures, and now and then in a process of its own. A variant fails if code of it ran, the command hung, ended in
another way, took much time or memory to refuse, printed raw control characters, changed anything outside the run
folder or, refusing, the checkpoints and rows.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hostile
import torch
from black_box import COMMAND, SMALL, call, environment

from metarl_run.cli import command, train  # noqa: F401
from metarl_run.config.compose import compose_points
from metarl_run.errors import UNSEEN
from metarl_run.report.run import curve, learned
from metarl_run.run import run  # noqa: F401 (torch is imported once)
from metarl_run.run.archive import read_archive
from metarl_run.run.folder import versions
from metarl_run.system.json_text import json_text

PLANS = {
    "maml": ("algo=maml", "env=cartpole_family"),
    "model_based": ("algo=model_based", "env=random_mdp"),
}
SMALLEST = ("meta_iterations=3", "checkpoint_every=1", "validate_every=2")
MAY_ASK_FOR_MORE = (hostile.config_changed, hostile.target)
"""Functions that may make a valid configuration, of another run: any end but a bug is right."""

LONGEST, SECONDS, MEGABYTES = 90, 2.0, 300
"""Limits: seconds of wall clock, and what a refusal before anything is set up may cost, in CPU time and memory."""

PER_FUNCTION = {hostile.flip: 3, hostile.archive: 3, hostile.state_changed: 3, hostile.other_kind: 3}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of variants (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the variants (default: 0)")
    parser.add_argument("--only", type=int, help="number of the only variant to try")
    parser.add_argument("--json", type=Path, help="file for the result")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = {"seed": chosen.seed, **examine(Path(place), chosen.count, chosen.seed, chosen.only)}
    print(json_text({**result, "failures": len(result["failures"])}), end="")
    if chosen.json is not None:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
        chosen.json.write_text(json_text(result))
    return 1 if result["failures"] else 0


def examine(place: Path, count: int, seed: int, only: int | None) -> dict[str, Any]:
    """Try all variants; the content of the result."""
    begun = time.monotonic()
    compose_points(SMALL)  # what every fork needs is imported and read once
    bases = {name: base(place / name, options) for name, options in PLANS.items()}
    functions = [f for f in (*hostile.DAMAGE, *hostile.HOSTILE) for _ in range(PER_FUNCTION.get(f, 1))]
    outcomes: Counter[str] = Counter()
    by_function: dict[str, Counter[str]] = {}
    failures: list[dict[str, Any]] = []
    slowest = largest = 0.0
    stop: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: stop.append(number))  # then the result is of what was tried
    for number in range(count) if only is None else [only]:
        if stop:
            break
        generator = random.Random(f"{seed} {number}")
        function = functions[number % len(functions)]
        name = "model_based" if generator.random() < 0.3 else "maml"
        here = place / "variant"
        here.mkdir()
        shutil.copytree(bases[name], here / "run", symlinks=True)
        made = function(here / "run", generator)
        starts = generator.random() < 0.15
        arguments = [*START, "checkpoint=run", "hydra.run.dir=new"] if starts else ["resume=run"]
        tried = try_out(here, arguments, in_fork=generator.random() < 0.97)
        outcome, problems = judged(tried, here, bases[name].parent, starts, function)
        outcomes[outcome] += 1
        by_function.setdefault(function.__name__, Counter())[outcome] += 1
        slowest, largest = max(slowest, tried["cpu_seconds"]), max(largest, tried["megabytes"])
        if problems:
            about = {"number": number, "function": function.__name__, "variant": shown(made), "base": name}
            failures.append(
                {
                    **about,
                    "arguments": arguments,
                    "problems": problems,
                    "said": tried["said"][-600:],
                    "code": tried["code"],
                }
            )
            print(f"{number} {function.__name__} {shown(made)}: {', '.join(problems)}", file=sys.stderr, flush=True)
        shutil.rmtree(here)
    return {
        "variants": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        "problems": dict(Counter(problem for failure in failures for problem in failure["problems"])),
        "by_function": {name: dict(sorted(found.items())) for name, found in by_function.items()},
        "most_cpu_seconds": round(slowest, 1),
        "most_megabytes": round(largest),
        "failures": failures,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "platform": platform.platform(),
        "minutes": round((time.monotonic() - begun) / 60, 1),
    }


def base(folder: Path, options: tuple[str, ...]) -> Path:
    """A run that was cut in its meta-test, and beside it the finished one, and one that starts from it."""
    folder.mkdir()
    for arguments in (
        (*SMALL, *options, *SMALLEST, "hydra.run.dir=whole"),
        (*START, "checkpoint=whole", "hydra.run.dir=started"),
        (*START, "checkpoint=whole/checkpoints/000002", "hydra.run.dir=started_before"),
    ):
        done = call(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
    cut = folder / "cut"
    shutil.copytree(folder / "whole", cut)
    record = {"status": "interrupted", "error": {"exit_code": 143}}
    (cut / "summary.json").write_text(json_text(record))
    for path in cut.glob("*_curve.*"):
        path.unlink()
    return cut


START = ("meta_iterations=0", "logger=files", "threads=1")


# --- One variant ---


def try_out(here: Path, arguments: list[str], *, in_fork: bool) -> dict[str, Any]:
    """Run the command on a variant, within limits; its exit code (None if it hung), words and costs."""
    before = snapshot(here)
    with (here / "said").open("wb") as said:
        process = _forked(here, arguments, said.fileno()) if in_fork else _started(here, arguments, said.fileno())
        until, code = time.monotonic() + LONGEST, None
        while True:
            pid, status, used = os.wait4(process, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            if time.monotonic() > until:
                os.killpg(process, signal.SIGKILL)
                os.wait4(process, 0)
                break
            time.sleep(0.005)
    words = (here / "said").read_bytes().decode("utf-8", "surrogateescape")
    (here / "said").unlink()
    return {
        "code": code,
        "said": words,
        "before": before,
        "cpu_seconds": used.ru_utime + used.ru_stime if code is not None else LONGEST,
        "megabytes": used.ru_maxrss / 1024,
        "at_rest": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _forked(here: Path, arguments: list[str], said: int) -> int:
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        os.chdir(here)
        for stream in (1, 2):
            os.dup2(said, stream)
        os.environ.update(environment(NO_COLOR="1"))
        sys.stdout, sys.stderr = (open(n, "w", encoding="utf-8", closefd=False) for n in (1, 2))  # noqa: SIM115
        sys.argv = ["metarl-run", *arguments]
        curve.save = learned.save = lambda *drawn: []
        command.main()
    except SystemExit as request:
        code = int(request.code or 0)
    except BaseException as error:
        print(f"Traceback: {error!r}", file=sys.stderr)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _started(here: Path, arguments: list[str], said: int) -> int:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=here,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        start_new_session=True,
    )
    process.returncode = 0  # waited for by its number
    return process.pid


def judged(tried: dict[str, Any], here: Path, originals: Path, starts: bool, function: Any) -> tuple[str, list[str]]:
    """The outcome of a variant in a word, and what is wrong with it."""
    problems, code, said = [], tried["code"], tried["said"]
    if any(path.name.startswith("canary") for path in here.rglob("*")):
        problems.append("executed")
    if code is None:
        return "hung", [*problems, "hung"]
    if code == 1 or code < 0 or "Traceback" in said or "bug:" in said:
        problems.append("bug")
    if any(character != "\n" for character in UNSEEN.findall(said)):
        problems.append("raw escapes")
    after, ours = snapshot(here), ("run/", "new") if starts else ("run/",)
    changed = [name for name in tried["before"].keys() | after.keys() if tried["before"].get(name) != after.get(name)]
    if others := [name for name in changed if not name.startswith(ours)]:
        problems.append("written outside")
        tried["said"] += f" [written: {others[:3]}]"
    kept = re.compile(r"run/(checkpoints/[^.]|metrics|adaptation|timing|config\.yaml|run\.json)")
    if code == 3:
        early = "meta-iterations" not in said and "using the one before" not in said
        if early and (tried["cpu_seconds"] > SECONDS or tried["megabytes"] > MEGABYTES + tried["at_rest"]):
            problems.append("costly")
        if any(kept.match(name) for name in changed):
            problems.append("modified")
        if not re.search(r"^error: \S", said, re.MULTILINE):
            problems.append("no error line")
        return "refused", problems
    if code != 0:
        if function not in MAY_ASK_FOR_MORE or code not in (4, 5):
            problems.append(f"exit {code}")
        return f"exit {code}", problems
    if function not in MAY_ASK_FOR_MORE:
        try:
            ends = [results(originals / end) for end in (("started", "started_before") if starts else ("whole",))]
            same = results(here / ("new" if starts else "run")) in ends
        except (OSError, ValueError, IndexError) as error:
            same = False
            tried["said"] += f" [{error}]"
        if not same:
            problems.append("other results")
    return "fell back" if "using the one before" in said else "went on", problems


def snapshot(here: Path) -> dict[str, str]:
    """Every entry below a folder: hashes of files, kinds of others."""
    found = {}
    for folder, folders, files in os.walk(here):
        for name in (*folders, *files):
            path = Path(folder, name)
            entry = path.lstat()
            kind = f"{entry.st_mode:o}"
            if path.is_symlink():
                kind += os.readlink(path)
            elif path.is_file() and entry.st_size < 10**8:
                kind += hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(here))] = kind
    return found


def results(folder: Path) -> Any:
    """Rows and parameters of a finished run."""
    summary = json.loads((folder / "summary.json").read_text())
    rows = [(folder / f"{name}.csv").read_bytes() for name in ("metrics", "adaptation")]
    newest = hostile.checkpoints(folder)[-1:] if (folder / "checkpoints").is_dir() else []
    states = [read_archive((path / "tensors.pt").read_bytes())["algo"] for path in newest]
    return summary["status"], summary["meta_test"], rows, str(plain(states))


def plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, list):
        return [plain(value) for value in state]
    return state.tolist() if isinstance(state, torch.Tensor) else state


def shown(made: str) -> str:
    return made.encode("unicode_escape").decode()[:200]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
