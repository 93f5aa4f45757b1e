"""Hydra's sweeps over listed runs; launchers and folders are Hydra's as in any sweep."""

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from metarl_run.config.listed import listed_runs, together
from metarl_run.errors import StateError


class ListedSweeper(BasicSweeper):
    """Every run that the key `sweep` lists, with every combination of what the command line sweeps over.

    Attributes:
        refused: some job's folder holds another run, which was left as it is.
    """

    refused: ClassVar[bool] = False

    def sweep(self, arguments: list[str]) -> Any:
        batches = super().sweep(arguments)
        ListedSweeper.refused = any(job.return_value == StateError.exit_code for jobs in batches for job in jobs)
        return batches

    def split_arguments(  # type: ignore[override]  # Hydra's is static, and called on an instance
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """The overrides of each job, in batches."""
        assert self.config is not None
        sweep = OmegaConf.to_container(self.config.sweep)
        (products,) = BasicSweeper.split_arguments(overrides, None)
        jobs = [job for run in listed_runs(sweep) for given in products if (job := together(run, given)) is not None]
        return [list(batch) for batch in self.split_overrides_to_chunks(jobs, max_batch_size)]


@contextlib.contextmanager
def listing() -> Iterator[None]:
    """For as long as this lasts, Hydra's basic sweeper is this one."""
    plugins = Plugins.instance().class_name_to_class
    name = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
    before = plugins[name]
    plugins[name] = ListedSweeper
    try:
        yield
    finally:
        plugins[name] = before
