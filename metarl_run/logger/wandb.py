"""Weights & Biases in a process of its own, which may fail, hang or be killed without harm to the run."""

import contextlib
import json
import logging
import os
import secrets
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from metarl_run.component import field
from metarl_run.kinds import Names, Positive
from metarl_run.logger.base import Position, RunInfo, Sink
from metarl_run.logger.named import curve_points, validation_means
from metarl_run.report.folder import evenly, short

log = logging.getLogger(__name__)

MOST_TABLE_ROWS = 50_000
"""Rows of the table that is sent, which a browser has to show; adaptation.csv has all."""

SHOWN = (".png", ".gif", ".mp4")
"""Pictures that are sent; the scalable ones stay at home."""

PROGRAM = Path(__file__).with_name("wandb_process.py")
MOST_UNSENT = 64 * 2**20
"""Bytes that may be queued for a process that does not read."""


def at_few_steps(rows: Sequence[Mapping[str, Any]], at_most: int) -> list[Mapping[str, Any]]:
    """About `at_most` of `rows`: those at some adaptation steps, the first and the last among them."""
    steps = sorted({row["adaptation_step"] for row in rows})
    shown = {steps[i] for i in evenly(len(steps), max(2, at_most * len(steps) // len(rows)))} if rows else set()
    return [row for row in rows if row["adaptation_step"] in shown]


class Wandb(Sink):
    """Rows, curve, pictures and table of a run in Weights & Biases.

    Charts have x axes of their own: `meta_train/…` and `meta_validation/…` the iteration, `meta_test/…` the episodes
    seen. Any failure is reported in one warning, and the run goes on: its own files are the record.

    Args:
        mode: `auto` is online if there are credentials, else offline, unless WANDB_MODE, WANDB_DISABLED or a command
            like `wandb disabled` says otherwise; `online` warns if there are no credentials.
        project: name of the wandb project.
        timeout: seconds; half of it for a server to answer at the start, all of it for saving at the end.
        name, group, tags: of the wandb run; null is WANDB_NAME, WANDB_RUN_GROUP and, beside algo, env and learner,
            WANDB_TAGS, else the run folder's name and the sweep's, or `<algo> on <env>` of a single run.
        init: further arguments of `wandb.init`, such as `{entity: my_team, notes: …}`; wandb's own environment
            variables count for those that are not given.
    """

    mode: Literal["auto", "online", "offline"]
    project: str
    timeout: Positive
    name: str | None = field(default=None)
    group: str | None = field(default=None)
    tags: Names | None = field(default=None)
    init: dict[str, Any] | None = field(default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.process: subprocess.Popen[bytes] | None = None
        self.unsent = bytearray()
        self.unread = bytearray()
        self.answer: dict[str, Any] = {}
        self.table: Sequence[Mapping[str, Any]] = []
        self.run_id: str | None = None

    def position(self) -> Position:
        found = self.answer.get("id", self.run_id)
        return {} if found is None else {"id": found}

    def open(self, run: RunInfo, position: Position) -> None:
        environment = os.environ
        mode: str = self.mode
        if mode == "auto":
            mode = environment.get("WANDB_MODE", mode)
            if mode == "disabled" or environment.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
                return
        self.folder = run.folder / "wandb"
        self.prints_sync = not run.in_sweep  # a sweep prints it once, at its end
        try:
            self.begin()
        except OSError as error:
            log.warning("wandb cannot be started: %s. The run's own files are complete without it.", error)
            return
        known = environment.get("WANDB_RUN_ID") or position.get("id")
        self.run_id = str(known or secrets.token_hex(4))
        own_tags = [run.algo, run.env, run.learner, *filter(None, environment.get("WANDB_TAGS", "").split(","))]
        self.send(
            mode={"dryrun": "offline", "run": "online"}.get(mode, mode),
            timeout=self.timeout,
            arguments={
                "project": self.project,
                "name": self.name or environment.get("WANDB_NAME", run.folder.name),
                "group": self.group or environment.get("WANDB_RUN_GROUP") or run.sweep or f"{run.algo} on {run.env}",
                "tags": own_tags if self.tags is None else [*self.tags],
                "dir": environment.get("WANDB_DIR", str(run.folder.absolute())),
                "id": self.run_id,
                **({"resume": "allow"} if known else {}),
                "config": {**run.config, "choices": {"algo": run.algo, "env": run.env, "learner": run.learner}},
                **(self.init or {}),
            },
        )

    def begin(self) -> None:
        """Start the process, which waits for messages."""
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {"WANDB_ERROR_REPORTING": "false"} | os.environ | {"WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
        self.ear, mouth = os.pipe()
        try:
            with (self.folder / "process.log").open("wb") as printed:
                self.process = subprocess.Popen(
                    # -P: this file's folder contains another module named wandb.
                    [sys.executable, "-P", str(PROGRAM), str(mouth)],
                    stdin=subprocess.PIPE,
                    stdout=printed,
                    stderr=printed,
                    pass_fds=[mouth],
                    env=environment,
                    start_new_session=True,  # Ctrl-C goes to the run, which then makes this process finish
                )
        finally:
            os.close(mouth)
        assert self.process.stdin is not None
        self.mouth = self.process.stdin
        os.set_blocking(self.mouth.fileno(), False)
        os.set_blocking(self.ear, False)

    def metrics(self, iteration: int, row: Mapping[str, float]) -> None:
        self.send(do="log", row={"iteration": iteration, **row})

    def evaluation(self, rows: Sequence[Mapping[str, Any]], curve: Mapping[str, Sequence[float]]) -> None:
        if not rows:
            return
        split = rows[0]["split"]
        if split == "meta_test":
            self.table = rows
            for row in curve_points(split, curve):
                self.send(do="log", row=row)
        else:
            means = validation_means(split, curve)
            self.send(do="log", row={"iteration": rows[0]["iteration"], **means})

    def finish(self, summary: Mapping[str, Any], pictures: Sequence[Path]) -> None:
        columns = list(self.table[0]) if self.table else []
        benchmark = ("family_version", "tasks_hash")
        costs = ("wall_seconds", "env_steps", "env_steps_per_second")
        kept = ("status", *costs, "lifetime_return", "published", *benchmark)
        self.send(
            do="finish",
            columns=columns,
            data=[[row[name] for name in columns] for row in at_few_steps(self.table, MOST_TABLE_ROWS)],
            summary={key: summary[key] for key in kept if key in summary},
            pictures={path.stem: str(path.absolute()) for path in pictures if path.suffix in SHOWN},
        )
        self.close()
        if "folder" in self.answer and self.prints_sync:
            sync = f"wandb sync {shlex.quote(short(Path(self.answer['folder'])))}"
            with contextlib.suppress(OSError):  # the reader of the console may be gone
                print(f"wandb: {sync if self.answer['offline'] else self.answer['url']}", flush=True)

    def close(self) -> None:
        """Let the process save its data, and kill it if that takes longer than `timeout`."""
        deadline = time.monotonic() + self.timeout
        if self.wait_until_sent(deadline):
            self.mouth.close()
            while self.process is not None and time.monotonic() < deadline:
                select.select([self.ear], [], [], max(0.0, deadline - time.monotonic()))
                self.listen()
        if self.process is not None:
            self.give_up(f"did not finish within {self.timeout:g} s")

    def send(self, **order: Any) -> None:
        """Send a message without waiting for it to be read."""
        if self.process is None:
            return
        self.unsent += json.dumps(order, default=str).encode() + b"\n"
        self.push()
        self.listen()
        if len(self.unsent) > MOST_UNSENT:
            self.give_up("does not answer")

    def push(self) -> None:
        """Write as much as the pipe accepts."""
        try:
            while self.unsent:
                sent = os.write(self.mouth.fileno(), self.unsent[: 2**16])
                del self.unsent[:sent]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.unsent.clear()  # `listen` notices its exit and reports it

    def wait_until_sent(self, deadline: float) -> bool:
        """Write everything before `deadline`; True if that worked and the process still runs."""
        while self.process is not None and self.unsent and time.monotonic() < deadline:
            select.select([], [self.mouth], [], max(0.0, deadline - time.monotonic()))
            self.push()
        return self.process is not None and not self.unsent

    def listen(self) -> None:
        """Read the messages of the process, and notice if it has ended."""
        try:
            while part := os.read(self.ear, 2**16):
                self.unread += part
            ended = True
        except BlockingIOError:
            ended = False
        *lines, rest = self.unread.split(b"\n")
        self.unread = bytearray(rest)
        for line in lines:
            answer = json.loads(line)
            if "warning" in answer:
                log.warning("wandb: %s", answer["warning"])
            self.answer |= answer
        if ended:
            self.release("ended on its own" if "done" not in self.answer else None)

    def give_up(self, reason: str) -> None:
        """Kill the process."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.release(reason)

    def release(self, problem: str | None) -> None:
        """Clean up after the process, with one warning if it failed."""
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self.mouth.close()
        os.close(self.ear)
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        if problem is not None:
            written = (self.folder / "process.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
            detail = f": {written[-1]}" if written else ""
            log.warning("wandb %s%s. The run's own files are complete without it.", problem, detail)
