"""Jobs of a sweep in a queue, as launcher plugins of Hydra: that of SLURM, submitit's on this machine, and Ray's.

hydra-submitit-launcher and hydra-ray-launcher say how jobs are handed over. By themselves they wait for results in the
order of the jobs, minutes for one that has died, and leave at the first without a result; here each is waited for as
long as its queue knows it.
"""

import contextlib
import functools
import io
import logging
import subprocess
import time
from abc import abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, ClassVar, cast

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from metarl_run.cli.job import Job, jobs_from
from metarl_run.cli.progress import SweepProgress
from metarl_run.errors import ResourceError, visible
from metarl_run.system.child import Died
from metarl_run.system.interruption import Interrupted

SECONDS_BETWEEN_LOOKS = 0.5
"""Interval of checks for results."""

SECONDS_BETWEEN_QUESTIONS = 10.0
"""Interval of questions to SLURM, which many people ask."""

log = logging.getLogger("hydra")


class QueueLauncher(Launcher):
    """Jobs in a queue of others.

    Args:
        options: of the launcher that is replaced.

    Attributes:
        replaced: class of that launcher.
        failed: whether some job did not end well.
    """

    replaced: ClassVar[str] = ""
    failed: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        self.options: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
            for key, value in options.items()
        }
        self.original = get_class(self.replaced)(**options)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config
        self.original.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; those that fail are told by their status.

        Raises:
            Interrupted: if a stop was asked for; see `leave`.
            ResourceError: if the queue takes no jobs.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = jobs_from(self.context, self.config, job_overrides, initial_job_idx)
        for job in jobs:
            log.info(f"\t#{job.number} : {' '.join(filter_overrides(job.overrides))}")
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # of SLURM, whose complaint is in the exception, too
                waiting = dict(zip(self.submit(jobs), jobs, strict=True))
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise ResourceError("hydra/launcher", f"takes no jobs: {reason or type(error).__name__}") from error
        log.info(f"{len(jobs)} jobs in the queue{self.place([*waiting])}")
        progress = SweepProgress(len(jobs), None)
        try:
            while waiting:
                for handle in self.ended([*waiting]):
                    job = waiting.pop(handle)
                    job.end(functools.partial(self.result, handle), asked=False)
                    failed = job.done.status is not JobStatus.COMPLETED
                    QueueLauncher.failed |= failed
                    log.info(visible(progress.end(job.folder, None, failed=failed)))
        except Interrupted:
            self.leave([*waiting])
            raise
        return [job.done for job in jobs]

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> Sequence[Hashable]:
        """Put jobs into the queue; a handle for each."""

    def place(self, handles: Sequence[Any]) -> str:
        """How the queue calls them, for a line about it."""
        return ""

    @abstractmethod
    def ended(self, handles: Sequence[Any]) -> Collection[Hashable]:
        """Those that have ended, after a moment at most."""

    @abstractmethod
    def result(self, handle: Any) -> JobReturn:
        """What a job that has ended returned.

        Raises:
            Died: if it returned nothing.
        """

    @abstractmethod
    def leave(self, handles: Sequence[Any]) -> None:
        """Nobody waits for these any longer."""


class SubmititLauncher(QueueLauncher):
    """Jobs of submitit, in processes of this machine or of SLURM."""

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.engine = "slurm" if self.replaced.endswith("SlurmLauncher") else "local"
        self.asked, self.gone = 0.0, set[str]()

    def submit(self, jobs: Sequence[Job]) -> Sequence[Hashable]:
        import submitit
        from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

        ours = {key: value for key, value in self.options.items() if key not in ("submitit_folder", "max_num_timeout")}
        shared = {*OmegaConf.structured(BaseQueueConf)}
        limit = self.options.get("max_num_timeout")
        executor = submitit.AutoExecutor(
            cluster=self.engine,
            folder=self.options["submitit_folder"],
            **({} if limit is None else {f"{self.engine}_max_num_timeout": limit}),
        )
        executor.update_parameters(
            **{key if key in shared else f"{self.engine}_{key}": value for key, value in ours.items()}
        )
        state = Singleton.get_state()
        rows = [(job.overrides, "hydra.sweep.dir", job.number, f"job_id_for_{job.number}", state) for job in jobs]
        return cast(Sequence[Hashable], executor.map_array(self.original, *zip(*rows, strict=True)))

    def place(self, handles: Sequence[Any]) -> str:
        return f" of SLURM as {self._arrays(handles)}" if self.engine == "slurm" else ""

    def ended(self, handles: Sequence[Any]) -> Collection[Hashable]:
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if self.engine == "local":
            return [handle for handle in handles if handle.done()]
        done = [handle for handle in handles if handle.paths.result_pickle.exists()]
        if time.monotonic() > self.asked + SECONDS_BETWEEN_QUESTIONS:
            known = in_queue(self._arrays(handles).split())
            self.asked = time.monotonic()
            if known is not None:
                missing = {handle.job_id for handle in handles} - known
                # one is absent for a moment as it is put back, and its result may take a moment to be seen here
                done += [handle for handle in handles if handle.job_id in self.gone & missing and handle not in done]
                self.gone = missing
        return done

    def result(self, handle: Any) -> JobReturn:
        if not handle.paths.result_pickle.exists():
            raise Died("process", f"left no result{self._state(handle)}; see {handle.paths.stderr}")
        from submitit.core.utils import FailedJobError

        try:
            return cast(JobReturn, handle.result())
        except FailedJobError:
            trace = handle.exception().args[0].partition("\n" + "-" * 22 + "\n")[2].rpartition("\n" + "-" * 22)[0]
            reason = trace.strip().splitlines()[-1].partition(": ")[2]
            raise Died("process", f"{reason or 'failed'}; see {handle.paths.stderr}") from None

    def leave(self, handles: Sequence[Any]) -> None:
        if self.engine == "slurm":
            print(f"{len(handles)} jobs stay in the queue; to end them: scancel {self._arrays(handles)}", flush=True)
            return
        for handle in handles:
            handle.cancel(check=False)
        while not all(handle.done() for handle in handles):
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def _arrays(self, handles: Sequence[Any]) -> str:
        """Numbers of the jobs or arrays of jobs that SLURM knows these by."""
        return " ".join(sorted({handle.job_id.partition("_")[0] for handle in handles}))

    def _state(self, handle: Any) -> str:
        if self.engine == "local":
            return ""
        handle.watcher.update()
        state = handle.state.partition(" ")[0]
        return "" if state == "UNKNOWN" else f", {state} in SLURM"


class RayLauncher(QueueLauncher):
    """Tasks of Ray, on this machine or the cluster that it is given."""

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    def submit(self, jobs: Sequence[Job]) -> Sequence[Hashable]:
        import ray

        chosen = self.options["ray"]
        if not ray.is_initialized():
            ray.init(**{"log_to_driver": False, "object_store_memory": 78_643_200, **(chosen.get("init") or {})})
        task = ray.remote(**chosen["remote"])(run_here) if chosen.get("remote") else ray.remote(run_here)
        return [task.remote(self.context, job.config, self.function) for job in jobs]

    def ended(self, handles: Sequence[Any]) -> Collection[Hashable]:
        import ray

        done, _ = ray.wait(handles, timeout=SECONDS_BETWEEN_LOOKS)
        return cast(Collection[Hashable], done)

    def result(self, handle: Any) -> JobReturn:
        import ray

        try:
            return cast(JobReturn, ray.get(handle))
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split()).partition(". ")[0]
            raise Died("process", f"{type(error).__name__}: {reason[:200]}") from None

    def leave(self, handles: Sequence[Any]) -> None:
        import ray

        for handle in handles:
            ray.cancel(handle)


QUEUES: Mapping[str, type[QueueLauncher]] = {
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher": SubmititLauncher,
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher": SubmititLauncher,
    "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher": RayLauncher,
}
"""Launchers by the class that they replace."""


def run_here(context: HydraContext, config: DictConfig, function: TaskFunction) -> JobReturn:
    """Run a job in a process of Ray."""
    setup_globals()
    return run_job(function, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)


def in_queue(arrays: Sequence[str]) -> set[str] | None:
    """Jobs that SLURM still has, by `ARRAY_TASK`; None if it does not answer.

    Args:
        arrays: numbers of jobs or arrays of jobs.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:  # which it says of those that it has forgotten
        return None
    return {*done.stdout.split()}
