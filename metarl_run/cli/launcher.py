"""Jobs of a sweep in forks of this process, as a launcher plugin of Hydra: a job that crashes harms no other."""

import functools
import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from metarl_run.cli.job import Job, jobs_from
from metarl_run.cli.progress import SweepProgress
from metarl_run.cli.queues import QUEUES, QueueLauncher
from metarl_run.cli.sweeper import known_to_hydra
from metarl_run.config.plan import flat
from metarl_run.config.point import Point
from metarl_run.errors import visible
from metarl_run.report.figure import draw_optimum, rendered
from metarl_run.run import run as _imported_before_forking  # noqa: F401
from metarl_run.system import machine
from metarl_run.system.child import Child, wait_for_any
from metarl_run.system.interruption import StopRequest

SECONDS_BETWEEN_LOOKS = 0.1
"""Interval of checks for stop requests."""

log = logging.getLogger("hydra")

REPLACED = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
)
"""Launchers on this machine: a crash in one process ends the basic one's sweep, and one of any worker ends joblib's."""


class ForkingLauncher(Launcher):
    """Every job in a fork of its own.

    Args:
        n_jobs: jobs side by side, as joblib counts them: -1 is one per core, -2 one core less.
        options: of the launcher that is replaced; they have no meaning here.

    Attributes:
        stop: stop requests of this process.
        failed: whether some job did not end well.
    """

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    stop: ClassVar[StopRequest] = StopRequest()
    failed: ClassVar[bool] = False

    def __init__(self, n_jobs: int | None = 1, **options: Any) -> None:
        wanted = 1 if n_jobs is None else n_jobs
        self.at_once = wanted if wanted > 0 else max(1, machine.cpus() + 1 + wanted)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs; those that fail are told by their status.

        Raises:
            Interrupted: if a stop was asked for, after the running jobs have saved.
        """
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        log.info(f"Launching {len(job_overrides)} jobs locally")
        jobs = jobs_from(self.context, self.config, job_overrides, initial_job_idx)
        machine.side_by_side = min(self.at_once, len(jobs))
        waiting, running, signalled = [*reversed(jobs)], dict[Child, tuple[Job, float]](), False
        progress = SweepProgress(len(jobs), machine.side_by_side)
        try:
            while waiting or running:
                if self.stop.exit_code is not None and not signalled:
                    waiting, signalled = [], True
                    for child in running:
                        child.signal(self.stop.number)
                while waiting and len(running) < self.at_once:
                    job = waiting.pop()
                    log.info(f"\t#{job.number} : {' '.join(filter_overrides(job.overrides))}")
                    running[Child(functools.partial(job.run, self.function, self.stop))] = job, progress.begin()
                for child in wait_for_any(running, SECONDS_BETWEEN_LOOKS):
                    job, begun = running.pop(child)
                    job.end(child.result, asked=self.stop.exit_code is not None)
                    failed = job.done.status is not JobStatus.COMPLETED
                    ForkingLauncher.failed |= failed
                    log.info(visible(progress.end(job.folder, begun, failed=failed)))
        finally:
            for child in running:
                child.process.kill()
                child.close()
        self.stop.check()
        return [job.done for job in jobs]


def replacing(points: Sequence[Point], stop: StopRequest) -> dict[str, Any]:
    """What makes Hydra use a launcher of ours in place of the chosen one, by key; nothing for one that stays."""
    target = str(points[0].composed.hydra.launcher._target_)
    chosen: type[Launcher]
    if target in REPLACED:
        torch.set_num_threads(1)  # whatever a sweeper computes, threads of it would be missing in forks
        _import_once(points)
        ForkingLauncher.stop = stop
        chosen = ForkingLauncher
    elif target in QUEUES:
        chosen = QUEUES[target]
        QueueLauncher.replaced = target
    else:
        return {}
    known_to_hydra(chosen)
    return {"hydra.launcher._target_": f"{chosen.__module__}.{chosen.__name__}"}


def obeys_signals(values: Mapping[str, Any]) -> bool:
    """True of a launcher that lets its running jobs save before it ends, by what `replacing` returned."""
    return str(values.get("hydra.launcher._target_")).endswith(ForkingLauncher.__name__)


def some_failed() -> bool:
    """Whether a job of any launcher of ours did not end well."""
    return ForkingLauncher.failed or QueueLauncher.failed


def _import_once(points: Sequence[Point]) -> None:
    """Import what every fork would import again, half a second each."""
    targets = {value for p in points for key, value in flat(p.config).items() if key.endswith("_target_")}
    for target in sorted(targets):
        if target.startswith("metarl_run."):  # code of others may compute as it is imported
            importlib.import_module(target.rpartition(".")[0])
    rendered(1.0, 1.0, lambda figure: draw_optimum(figure.add_subplot(), 0.0, ""))
