"""Overhead of the runner: the share of meta-training that is not spent in meta-updates.

Each run has a process of its own, with the live display of a terminal. It is timed around all of meta-training and
around each meta-update; the difference is logging, display, checkpoints and checks.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import PROJECT, Case, Work

CONFIG = (
    "algo=maml",
    "env=cartpole_family",
    "logger=files",
    "threads=1",
    "checkpoint_every=5",
    "validate_every=0",
    "meta_test.num_tasks=2",
)
TINY = ("meta_batch_size=2", "episodes_per_task=2")


def cases(tiny: bool) -> Iterator[Case]:
    iterations = 2 if tiny else 10
    sizes = (f"meta_iterations={iterations}", *(TINY if tiny else ()))
    yield Case("overhead", "maml", {"meta_iterations": iterations}, None, {PROJECT: partial(project, sizes)})


def project(sizes: tuple[str, ...]) -> Work:
    def work() -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "clocks.json"
            in_a_terminal([sys.executable, __file__, str(file), *CONFIG, *sizes, f"output_root={folder}"])
            clocks = json.loads(file.read_text())
        inside, whole = clocks["meta_update"], clocks["meta_train"]
        return {"share": (whole - inside) / whole, "training_seconds": whole}

    return work


def in_a_terminal(command: list[str]) -> None:
    """Run `command` with a terminal as its standard output, whose content is discarded."""
    master, slave = os.openpty()

    def read() -> None:
        with contextlib.suppress(OSError):  # raised by Linux when the other end is closed
            while os.read(master, 2**16):
                pass

    reader = threading.Thread(target=read)
    reader.start()
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": path}
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(slave)
    reader.join()
    os.close(master)
    if ended.returncode:
        raise RuntimeError(f"{command} failed: {ended.stderr}")


# --- In the process of the run ---


def clocked(method: Callable[..., Any], name: str, clocks: dict[str, float]) -> Callable[..., Any]:
    """`method`, with its total duration added up in `clocks[name]`."""

    def measured(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            clocks[name] = clocks.get(name, 0.0) + time.perf_counter() - start

    return measured


def main(file: Path, argv: list[str]) -> None:
    from metarl_run.cli import train
    from metarl_run.system import machine

    machine.prepare()
    from metarl_run.algo.maml import MAML
    from metarl_run.run.training import Training

    clocks: dict[str, float] = {}
    MAML.meta_update = clocked(MAML.meta_update, "meta_update", clocks)  # type: ignore[method-assign]
    Training.meta_train = clocked(Training.meta_train, "meta_train", clocks)  # type: ignore[method-assign]
    train.main(argv)
    file.write_text(json.dumps(clocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
