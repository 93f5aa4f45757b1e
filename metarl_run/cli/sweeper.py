"""Sweeps whose jobs are known beforehand, as a sweeper plugin of Hydra: launchers and folders are as in any sweep."""

import importlib
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.plugins.plugin import Plugin
from omegaconf import OmegaConf

from metarl_run.config.hydra_internals import BasicSweeper

OPTION = "hydra/sweeper=listed"


class ListedSweeper(BasicSweeper):
    """The jobs as they were composed and validated: those of the basic sweeper, of listed runs or from a checkpoint.

    Attributes:
        jobs: the overrides of each.
        failed: whether some job did not end well, or its folder holds another run, which was left as it is.
    """

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    jobs: ClassVar[Sequence[Sequence[str]]] = ()
    failed: ClassVar[bool] = False

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None and self.launcher is not None
        folder = Path(str(self.config.hydra.sweep.dir))
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        first, batches = 0, []
        for batch in self.split_overrides_to_chunks([[*job] for job in self.jobs], self.max_batch_size):
            batches.append(self.launcher.launch(batch, initial_job_idx=first))
            ListedSweeper.failed |= any(job.status is not JobStatus.COMPLETED for job in batches[-1])
            first += len(batch)
        return batches


def register(jobs: Sequence[Sequence[str]]) -> None:
    """Make the jobs those of `hydra/sweeper=listed`, in this process."""
    ListedSweeper.jobs = jobs
    known_to_hydra(ListedSweeper)
    target = f"{ListedSweeper.__module__}.{ListedSweeper.__name__}"
    node = {"_target_": target, "max_batch_size": None, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="listed", node=node, provider="metarl-run")


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
