"""Hydra's own files, written as ours are: whole, and what the disk refuses is told in one line."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from metarl_run.config.hydra_internals import core_utils
from metarl_run.errors import ResourceError
from metarl_run.system.atomic import refusals, write_atomically

_refused: list[ResourceError] = []


def install() -> None:
    """Let Hydra write its files this way in this process."""
    core_utils._save_config = _save


def require_written() -> None:
    """Raise ResourceError if a file of the job that begins could not be written: it fails, and no other job."""
    found, _refused[:] = [*_refused], []
    if found:
        raise found[0]


def _save(cfg: DictConfig, filename: str, output_dir: Path) -> None:
    """Write one of Hydra's files of a job. An error here would end a sweep, so that `require_written` raises it."""
    try:
        with refusals(output_dir, "make"):
            output_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(output_dir / filename, OmegaConf.to_yaml(cfg).encode())
    except ResourceError as error:
        _refused.append(error)
