"""Hydra's sweeps whose jobs are known beforehand; launchers and folders are Hydra's as in any sweep."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins

from metarl_run.errors import StateError


class ListedSweeper(BasicSweeper):
    """The jobs as they were composed and validated: of listed runs, or of runs from a checkpoint.

    Attributes:
        jobs: the overrides of each.
        refused: some job's folder holds another run, which was left as it is.
    """

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


@contextlib.contextmanager
def listing(jobs: Sequence[Sequence[str]]) -> Iterator[None]:
    """For as long as this lasts, Hydra's basic sweeper is this one, with these jobs."""
    ListedSweeper.jobs = jobs
    plugins = Plugins.instance().class_name_to_class
    name = f"{BasicSweeper.__module__}.{BasicSweeper.__name__}"
    before = plugins[name]
    plugins[name] = ListedSweeper
    try:
        yield
    finally:
        plugins[name] = before
