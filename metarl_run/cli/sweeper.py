"""Sweeps whose jobs are known beforehand, as a sweeper plugin of Hydra: launchers and folders are as in any sweep."""

import importlib
import sys
import types
from collections.abc import Sequence
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

from metarl_run.config.hydra_internals import BasicSweeper
from metarl_run.errors import StateError

OPTION = "hydra/sweeper=listed"


class ListedSweeper(BasicSweeper):
    """The jobs as they were composed and validated: of listed runs, or of runs from a checkpoint.

    Attributes:
        jobs: the overrides of each.
        refused: whether some job's folder holds another run, which was left as it is.
    """

    __module__ = "hydra_plugins.metarl_run"  # Hydra takes a plugin from nowhere else

    jobs: ClassVar[Sequence[Sequence[str]]] = ()
    refused: ClassVar[bool] = False

    def sweep(self, arguments: list[str]) -> Any:
        batches = super().sweep(arguments)
        ListedSweeper.refused = any(job.return_value == StateError.exit_code for jobs in batches for job in jobs)
        return batches

    def split_arguments(  # type: ignore[override]  # Hydra's is static, and called on an instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The overrides of each job, in batches."""
        jobs = [list(job) for job in self.jobs]
        return [list(batch) for batch in self.split_overrides_to_chunks(jobs, max_batch_size)]


def register(jobs: Sequence[Sequence[str]]) -> None:
    """Make the jobs those of `hydra/sweeper=listed`, in this process."""
    ListedSweeper.jobs = jobs
    _in_namespace(ListedSweeper)
    Plugins.instance().register(ListedSweeper)
    target = f"{ListedSweeper.__module__}.{ListedSweeper.__name__}"
    node = {"_target_": target, "max_batch_size": None, "params": None}
    ConfigStore.instance().store(group="hydra/sweeper", name="listed", node=node, provider="metarl-run")


def _in_namespace(plugin: type) -> None:
    """Let `plugin` be found in the namespace package `hydra_plugins`, which other distributions share."""
    name, _, leaf = plugin.__module__.partition(".")
    try:
        namespace = importlib.import_module(name)
    except ModuleNotFoundError:  # no other plugin is installed
        namespace = sys.modules[name] = types.ModuleType(name)
    module = sys.modules[plugin.__module__] = types.ModuleType(plugin.__module__)
    setattr(module, plugin.__name__, plugin)
    setattr(namespace, leaf, module)
