"""Pool of worker processes that run evaluation jobs; a worker that fails or is killed affects no other.

A worker has one job at a time, and one that died is replaced. Workers print nothing: a job's folder shows its progress,
its worker reports the outcome.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from metarl_run.errors import ResourceError, RunError
from metarl_run.system import machine
from metarl_run.system.child import leave_with_parent
from metarl_run.system.interruption import Interrupted, StopRequest
from metarl_run.table import store
from metarl_run.table.job import EvaluationJob

SECONDS_BETWEEN_LOOKS = 0.2
"""Interval of checks for progress and stop requests."""

PATIENCE = 5.0
"""Seconds that a worker has to exit by itself; finished parts are on disk either way."""


@dataclass
class Worker:
    """A worker process and its current job."""

    process: SpawnProcess
    pipe: Connection
    job: EvaluationJob | None = None


def run_all(
    jobs: Sequence[EvaluationJob], root: Path, num_workers: int, stop: StopRequest
) -> Iterator[tuple[EvaluationJob, str | None] | None]:
    """Run all jobs in their folders below `root`.

    Yields:
        A job that ended and the reason it failed, None on success; or None at regular intervals, for progress displays.

    Raises:
        Interrupted: on a stop request, after all workers have exited.
    """
    waiting, workers = list(reversed(jobs)), list[Worker]()
    side_by_side = max(min(num_workers, len(jobs)), 1)
    try:
        while waiting or workers:
            stop.check()
            while waiting and len(workers) < num_workers:
                workers.append(_started(root, side_by_side))
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
                    stop.check()  # a signal to the process group reaches workers, too
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
    """Record in the job's folder how its worker died, and return the reason."""
    code = worker.process.exitcode or 0
    reason = f"ended with signal {-code}" if code < 0 else f"ended with exit code {code}"
    store.prepare(folder, job)
    error = {"where": "worker process", "reason": reason, "exit_code": ResourceError.exit_code}
    store.write_outcome(folder, {"status": "failed", "error": error})
    return f"worker process: {reason}"


def _started(root: Path, side_by_side: int) -> Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, root, side_by_side), daemon=True)
    # The terminal sends Ctrl-C to the whole group; workers inherit the blocked signal and never see it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return Worker(process, ours)


def _hand_over(worker: Worker, job: EvaluationJob) -> None:
    worker.job = job
    with contextlib.suppress(OSError):  # it died already, which is noticed when its pipe is read
        worker.pipe.send(job)


def _dismiss(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.join()


def work(pipe: Connection, root: Path, side_by_side: int) -> None:
    """Main loop of one of so many workers: run jobs until the pipe is closed."""
    machine.prepare()
    machine.side_by_side = side_by_side
    stop = StopRequest()
    leave_with_parent()
    with contextlib.suppress(EOFError, OSError), open(os.devnull, "w") as nowhere:
        sys.stdout = nowhere
        while True:
            job: EvaluationJob = pipe.recv()
            pipe.send(_outcome(job, root, stop))


def _outcome(job: EvaluationJob, root: Path, stop: StopRequest) -> str | None:
    from metarl_run.run import products
    from metarl_run.table.run_job import run_job

    if job.training is not None:
        stop.install()  # training saves before it exits; otherwise TERM ends the process without losing a part
    try:
        run_job(root / job.folder, job, stop, shared=root / products.FILE)
    except RunError as error:
        return f"{error.where}: {error.reason}"
    except Interrupted as request:
        os._exit(request.exit_code)
    return None
