"""One job of a sweep: its configuration and folder, and what came of it in another process."""

import functools
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from metarl_run.config.grammar import key_of, quoted
from metarl_run.config.loader import current
from metarl_run.config.secret import masked
from metarl_run.errors import ResourceError, RunError
from metarl_run.run.folder import record_failure, status_of
from metarl_run.system.atomic import refusals
from metarl_run.system.child import Died
from metarl_run.system.crash import bug
from metarl_run.system.interruption import Interrupted, StopRequest


def choose(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Set keys of Hydra's part of a configuration, and those from which jobs are composed again elsewhere."""
    with read_write(config.hydra), open_dict(config.hydra):
        for key, value in values.items():
            OmegaConf.update(config, key, value)
        chosen = [f"{key}={quoted(value) if isinstance(value, str) else value}" for key, value in values.items()]
        given = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)  # some name what a job alone has
        assert isinstance(given, list)
        kept = [text for text in given if key_of(text) not in values]
        config.hydra.overrides.hydra = [*kept, *chosen]


class Job:
    """One job of a sweep.

    Args:
        context: Hydra's.
        config: of the sweep as a whole.
        overrides: the job's own.
        number: from 0.
        composed: its configuration, if that is known.

    Attributes:
        known: the jobs of the sweep that are to be run, in a process that knows them beforehand.
        done: what Hydra returns for it.
    """

    known: ClassVar[Sequence["Job"]] = ()

    def __init__(
        self,
        context: HydraContext,
        config: DictConfig,
        overrides: Sequence[str],
        number: int,
        composed: DictConfig | None = None,
    ) -> None:
        self.context, self.of_sweep, self.overrides, self.number = context, config, [*overrides], number
        self.composed = composed
        self.done = JobReturn(overrides=self.overrides)

    @functools.cached_property
    def config(self) -> DictConfig:
        """Composed where it is needed: in the job's process, and here if that died."""
        config = self.composed
        if config is None:
            config = self.context.config_loader.load_sweep_config(self.of_sweep, self.overrides)
        else:
            OmegaConf.copy_cache(from_config=self.of_sweep, to_config=config)  # times and names that are drawn once
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.job.id = config.hydra.job.num = self.number
        return config

    @property
    def folder(self) -> Path:
        with current(self.config):
            return Path(*(str(OmegaConf.select(self.config, f"hydra.sweep.{key}")) for key in ("dir", "subdir")))

    def run(self, function: TaskFunction, stop: StopRequest) -> JobReturn:
        """Do it, in this process."""
        stop.leaves_at_once = False  # that is decided by the process that started this one, which passes signals on
        with refusals(self.folder, "make"):  # errors of the job itself are in what it returns
            return run_job(function, self.config, "hydra.sweep.dir", "hydra.sweep.subdir", self.context)

    def end(self, result: Callable[[], JobReturn], *, asked: bool) -> None:
        """Take over what came of it in a process that has ended, and report what that could not.

        Args:
            result: what the process returned, or raises what became of it.
            asked: it was asked to stop.
        """
        try:
            self.done = result()
            return
        except Interrupted as request:
            failure: RunError = ResourceError(
                str(self.folder), f"was stopped by {signal.Signals(request.exit_code - 128).name}"
            )
        except Died as error:
            failure = ResourceError(str(self.folder), f"{error.reason}, in {' '.join(self.overrides)}")
            if status_of(self.folder) != "interrupted":
                record_failure(self.folder, ResourceError("process", error.reason))
        except ResourceError as error:
            failure = error
        except (Exception, SystemExit) as error:
            failure = bug(error, self.folder)
            record_failure(self.folder, failure)
        if not asked:
            print(masked(str(failure)), file=sys.stderr, flush=True)
        self.done.status, self.done.return_value = JobStatus.FAILED, failure


def jobs_from(
    context: HydraContext, config: DictConfig, overrides: Sequence[Sequence[str]], first: int
) -> Sequence[Job]:
    """The jobs that a sweeper hands to a launcher.

    Args:
        context: Hydra's.
        config: of the sweep as a whole.
        overrides: of each job.
        first: how many were handed over before.
    """
    known = Job.known[first : first + len(overrides)]
    return known or [Job(context, config, texts, first + i) for i, texts in enumerate(overrides)]
