"""Worker processes that live jobs side by side: one that fails, or is killed, takes nobody with it.

A worker is a process of its own with one job at a time; a new one takes the place of one that died. They say nothing
on the screen: how a job goes is told by its folder, how it ended by the worker.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from metarl_run.errors import BUG, ResourceError, RunError
from metarl_run.system import machine
from metarl_run.system.interruption import Interrupted, StopRequest
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob

SECONDS_BETWEEN_LOOKS = 0.2
"""At how jobs go, and whether a stop was asked for."""

PATIENCE = 5.0
"""Seconds for a worker to leave by itself; it keeps what it has lived either way."""


@dataclass
class Worker:
    """One process, and what it is at."""

    process: SpawnProcess
    pipe: Connection
    job: EvaluationJob | None = None


def run_all(
    jobs: Sequence[EvaluationJob], root: Path, num_workers: int, stop: StopRequest
) -> Iterator[tuple[EvaluationJob, str | None] | None]:
    """Bring all jobs to their ends in their folders below `root`.

    Yields:
        A job that has ended, and why it failed, None if it did not; or None, now and then, when nothing happened.

    Raises:
        Interrupted: if a stop was asked for; no worker is left then.
    """
    waiting, workers = list(reversed(jobs)), list[Worker]()
    try:
        while waiting or workers:
            stop.check()
            while waiting and len(workers) < num_workers:
                workers.append(_started(root))
                _hand_over(workers[-1], waiting.pop())
            ready = wait([worker.pipe for worker in workers], timeout=SECONDS_BETWEEN_LOOKS)
            for worker in [worker for worker in workers if worker.pipe in ready]:
                job = worker.job
                assert job is not None
                try:
                    problem = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    worker.process.join()
                    stop.check()  # a signal to the whole group reaches workers, too
                    yield job, _died(worker, job, root / job.folder)
                    continue
                if waiting:
                    _hand_over(worker, waiting.pop())
                else:
                    workers.remove(worker)
                    _dismiss(worker)
                yield job, problem
            yield None
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(PATIENCE if worker.job is None or worker.job.training is None else None)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        for temporary in root.rglob(".tasks-*.tmp") if workers else ():
            temporary.unlink(missing_ok=True)


def _died(worker: Worker, job: EvaluationJob, folder: Path) -> str:
    """Say in the folder of a job, as its worker no longer can, how it ended."""
    code = worker.process.exitcode or 0
    reason = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
    store.prepare(folder, job)
    error = {"where": "worker process", "reason": reason, "exit_code": ResourceError.exit_code}
    store.write_outcome(folder, {"status": "failed", "error": error})
    return f"worker process: {reason}"


def _started(root: Path) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, root), daemon=True)
    # A worker never sees Ctrl-C, which a terminal sends to all: it inherits that the signal is held back
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return Worker(process, ours)


def _hand_over(worker: Worker, job: EvaluationJob) -> None:
    worker.job = job
    with contextlib.suppress(OSError):  # it died already, which is told when its pipe is read
        worker.pipe.send(job)


def _dismiss(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.join()


def work(pipe: Connection, root: Path) -> None:
    """What a worker does: jobs, one after another, until nobody sends any more."""
    machine.prepare()
    stop = StopRequest()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError), open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        while True:
            job: EvaluationJob = pipe.recv()
            pipe.send(_outcome(job, root, stop))


def _leave_with_parent() -> None:
    """Nobody is left to report to, whatever ended the parent: what was lived is on disk."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(BUG)


def _outcome(job: EvaluationJob, root: Path, stop: StopRequest) -> str | None:
    from metarl_run.table.run_job import run_job

    if job.training is not None:
        stop.install()  # training saves before it leaves; otherwise TERM ends the process, and no part is lost
    try:
        run_job(root / job.folder, job, stop)
    except RunError as error:
        return f"{error.where}: {error.reason}"
    except Interrupted as request:
        os._exit(request.exit_code)
    return None
