"""Hydra's own files, written as ours are: whole, and what the disk refuses is told in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from metarl_run.config.hydra_internals import core_utils, utils
from metarl_run.errors import ResourceError
from metarl_run.system.atomic import refusals, write_atomically

_refused: list[ResourceError] = []
_run_and_report = utils.run_and_report


def install() -> None:
    """Let Hydra write its files this way in this process."""
    core_utils._save_config = _save


def require_written() -> None:
    """Raise ResourceError if a file of the job that begins could not be written: it fails, and no other job."""
    found, _refused[:] = [*_refused], []
    if found:
        raise found[0]


@contextlib.contextmanager
def refusals_of_sweep(folder: Path) -> Iterator[None]:
    """What the system refuses to a sweep itself, rather than to a job, which Hydra would print with a traceback.

    Raises:
        ResourceError: in place of an OSError.
    """
    refused: list[OSError] = []

    def run_and_report(func: Any) -> Any:
        def guarded() -> Any:
            try:
                return func()
            except OSError as error:
                refused.append(error)

        return _run_and_report(guarded)

    utils.run_and_report = run_and_report
    try:
        yield
    finally:
        utils.run_and_report = _run_and_report
    for error in refused:
        with refusals(Path(error.filename or folder), "write the sweep's files"):
            raise error


def _save(cfg: DictConfig, filename: str, output_dir: Path) -> None:
    """Write one of Hydra's files of a job. An error here would end a sweep, so that `require_written` raises it."""
    try:
        with refusals(output_dir, "make"):
            output_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(output_dir / filename, OmegaConf.to_yaml(cfg).encode())
    except ResourceError as error:
        _refused.append(error)
