"""The command as a user meets it: a process of its own, in a folder of its own, without a terminal.

Nothing here has a time limit but the test itself, see `conftest.py`: a busy machine is no failure.
"""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from metarl_run.folders import checkpoints_in

ROOT = Path(__file__).parents[1]
SCRIPT = Path(sys.executable).with_name("metarl-run")
COMMAND = (
    [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-c", "from metarl_run.cli.command import main; main()"]
)
SMALL = ("experiment=smoke", "threads=1")
LONG = (*SMALL, "meta_iterations=120", "checkpoint_every=7", "validate_every=25")
"""A few seconds of training, so that there is something to interrupt."""
CLOCK = ("wall_seconds", "cpu_seconds", "env_steps_per_second")
"""What a clock says in summary.json."""


def environment(**changes: str) -> dict[str, str]:
    """This process's, with its import path, and with one thread so that tests may run side by side."""
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    fixed = {"PYTHONPATH": path, "COLUMNS": "100", "TERM": "dumb", "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return {**os.environ, **fixed, **changes}


def call(*arguments: str, cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end; what it said. Arguments are its own, the others those of `ended`."""
    return ended([*COMMAND, *arguments], cwd, **changes)


def ended(command: list[str], cwd: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    """What a process said up to its end.

    Args:
        command: what it runs.
        cwd: where it runs.
        changes: environment variables.
    """
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        start_new_session=True,
    )


class Running:
    """A command under way, the leader of a process group of its own."""

    def __init__(self, *arguments: str, cwd: Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def wait_until(self, true: Callable[[], bool]) -> None:
        with self._killed_on_failure():
            while not true():
                assert self.process.poll() is None, f"ended too early: {self.process.communicate()}"
                time.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def cpu_seconds(self) -> float:
        """What it has used so far, in user and system mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def end(self) -> tuple[int, str, str]:
        with self._killed_on_failure():
            out, err = self.process.communicate()
        return self.process.returncode, out, err

    @contextlib.contextmanager
    def _killed_on_failure(self) -> Iterator[None]:
        """Leave no process behind, also if the test is out of time."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            raise


# --- What a run folder holds ---


def iterations_done(folder: Path) -> int:
    """Rows of metrics.csv below its header."""
    try:
        return max(0, (folder / "metrics.csv").read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def summary(folder: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"summary.json holds {constant}")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def record(folder: Path) -> dict[str, bytes]:
    """Everything of a run that no clock has touched."""
    names = ["metrics.csv", "adaptation.csv", "config.yaml", *(path.name for path in folder.glob("*.[ps][nv]g"))]
    result = {name: (folder / name).read_bytes() for name in names}
    told = {name: value for name, value in summary(folder).items() if name not in CLOCK}
    result["summary.json"] = json.dumps(told).encode()
    newest = checkpoints_in(folder / "checkpoints")[-1:]
    return result | {f"{path.name}/tensors.pt": (path / "tensors.pt").read_bytes() for path in newest}


def differences(whole: Path, run: Path) -> list[str]:
    """Names of what differs between two runs of which no stop was asked for, and of what should not be there."""
    ours, others = ({**record(run), **checkpoint_names(run)} for run in (whole, run))
    return [name for name in sorted(ours.keys() | others.keys()) if ours.get(name) != others.get(name)] + left_behind(
        run
    )


def checkpoint_names(run: Path) -> dict[str, bytes]:
    return {f"checkpoints/{path.name}": b"" for path in checkpoints_in(run / "checkpoints")}


def left_behind(folder: Path) -> list[str]:
    """Temporary files and locks."""
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") and path.name != ".hydra"]
