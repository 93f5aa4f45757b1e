"""Sweeps whose jobs are known beforehand, `hydra/sweeper=listed`, as a sweeper plugin of Hydra."""

import importlib
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.plugin import Plugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class ListedSweeper(Sweeper):
    """The jobs as they were composed and validated.

    Args:
        max_batch_size: jobs that the launcher gets at a time; all if it is null.
        params: further values, which the jobs have already.

    Attributes:
        jobs: overrides of each that is to be run.
        failed: whether some job did not end well, or its folder holds another run, which was left as it is.
    """

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    jobs: ClassVar[Sequence[Sequence[str]]] = ()
    failed: ClassVar[bool] = False

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        self.batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.folder, self.composed = Path(str(config.hydra.sweep.dir)), config
        self.chosen_launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        OmegaConf.save(self.composed, self.folder / "multirun.yaml")
        done: list[JobReturn] = []
        size = self.batch_size or len(self.jobs) or 1
        for first in range(0, len(self.jobs), size):
            batch = [[*job] for job in self.jobs[first : first + size]]
            done += self.chosen_launcher.launch(batch, initial_job_idx=first)
        ListedSweeper.failed |= any(job.status is not JobStatus.COMPLETED for job in done)
        return done


def register(jobs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Make the jobs those of the listed sweeper, in this process; what chooses it, by key."""
    ListedSweeper.jobs = jobs
    known_to_hydra(ListedSweeper)
    return {"hydra.sweeper._target_": f"{ListedSweeper.__module__}.{ListedSweeper.__name__}"}


def known_to_hydra(plugin: type[Plugin]) -> None:
    """Let `plugin` be found in the namespace package `hydra_plugins`, which other distributions share."""
    name, _, leaf = plugin.__module__.partition(".")
    try:
        namespace = importlib.import_module(name)
    except ModuleNotFoundError:  # no other plugin is installed
        namespace = sys.modules[name] = types.ModuleType(name)
    module = sys.modules.setdefault(plugin.__module__, types.ModuleType(plugin.__module__))
    setattr(module, plugin.__name__, plugin)
    setattr(namespace, leaf, module)
    Plugins.instance().register(plugin)
