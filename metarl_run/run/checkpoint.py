"""Checkpoints: atomic, versioned, exact.

A checkpoint is a folder `checkpoints/<iteration>/` with `tensors.pt`, read back by `metarl_run.run.archive`, and
`manifest.json`, which holds its size and hash, the agent's configuration, and a hash of itself. The folder is written
under a temporary name and renamed, so a name without a dot is always a whole checkpoint; the hashes catch what the disk
did to it later. Hashes that are right prove nothing about a checkpoint from elsewhere: what it holds is checked too.
"""

import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metarl_run.errors import StateError
from metarl_run.files import SEAL, read_bytes, read_json, seal
from metarl_run.folders import checkpoints_in
from metarl_run.logger.base import Position
from metarl_run.run.archive import read_archive
from metarl_run.run.form import mismatch
from metarl_run.system.atomic import refusals, sync_folder, write_synced

FORMAT = 1
LAST_KEPT = 2
RECORD = {"iteration": 0, "positions": {}, "files": {"tensors.pt": {"bytes": 0, "sha256": ""}}}
"""Form of what every manifest has."""

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine: no tensors.pt that is larger could be loaded."""


log = logging.getLogger(__name__)


class Checkpoint(NamedTuple):
    """A state of a run.

    Attributes:
        iteration: meta-updates done.
        state: plain containers of tensors and numbers.
        positions: for each sink, how far its files reached.
        config: hash of the run's config.yaml; None if it was not recorded.
    """

    iteration: int
    state: dict[str, Any]
    positions: Mapping[str, Position]
    config: str | None = None


def save(folder: Path, checkpoint: Checkpoint, *, score: float | None, agent: Mapping[str, Any] | None = None) -> None:
    """Add a checkpoint to `folder`, then drop all but the last two and the one with the highest score.

    Args:
        folder: the run's `checkpoints` folder.
        checkpoint: what to save.
        score: the last validation's return after adaptation; None before the first.
        agent: configuration and choices of the agent whose state it is, read by `metarl_run.config.plan.trained_plan`.

    Raises:
        ResourceError: if the disk refuses; earlier checkpoints are untouched.
    """
    buffer = io.BytesIO()
    torch.save(checkpoint.state, buffer)
    tensors = buffer.getvalue()
    manifest = {
        "format": FORMAT,
        "iteration": checkpoint.iteration,
        "score": score,
        "positions": checkpoint.positions,
        "agent": agent,
        "config": checkpoint.config,
        "files": {"tensors.pt": {"bytes": len(tensors), "sha256": hashlib.sha256(tensors).hexdigest()}},
    }
    final = folder / f"{checkpoint.iteration:06d}"
    temporary = folder / f".{final.name}.tmp"
    _remove(folder.glob(".*.tmp"))
    _remove([final] if os.path.lexists(final) else [])  # damaged, and its iteration was run again
    with refusals(final, f"write {len(tensors)} bytes"):
        try:
            temporary.mkdir(parents=True)
            write_synced(temporary / "tensors.pt", tensors)
            write_synced(temporary / "manifest.json", _text({**manifest, SEAL: seal(manifest)}))
            sync_folder(temporary)
            os.rename(temporary, final)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder)
    _read(final)  # only a checkpoint that reads back may replace older ones
    tidy(folder, checkpoint.iteration)


def tidy(folder: Path, newest: int) -> None:
    """Drop what a process left behind that was killed, and all checkpoints but the last two and the best.

    Args:
        folder: the run's `checkpoints` folder.
        newest: iteration of the newest usable checkpoint; later ones are not touched.

    Raises:
        ResourceError: if the disk refuses.
    """
    found = [path for path in checkpoints_in(folder) if int(path.name) <= newest]
    scores = {path: score for path in found if (score := _score(path)) is not None}
    kept = {*found[-LAST_KEPT:], *([max(scores, key=lambda path: scores[path])] if scores else [])}
    _remove([*folder.glob(".*.tmp"), *(path for path in found if path not in kept)])


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with refusals(path, "remove"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def load_newest(folder: Path, accept: Callable[[Checkpoint], object] = lambda found: None) -> Checkpoint | None:
    """The newest usable checkpoint under `folder`; None if there never was one.

    A checkpoint that is damaged, or holds what no run wrote, is passed over with a warning.

    Args:
        folder: the run's `checkpoints` folder.
        accept: called with each candidate; one for which it raises StateError is not usable.

    Raises:
        StateError: if there are checkpoints but none is usable.
    """
    if folder.exists() and not folder.is_dir():
        raise StateError(str(folder), "must be a folder of checkpoints, got a file")
    found = checkpoints_in(folder)
    for path in reversed(found):
        try:
            candidate = _read(path)
            if candidate.iteration != int(path.name):
                raise StateError(str(path), f"is that of iteration {candidate.iteration}")
            accept(candidate)
            return candidate
        except StateError as error:
            log.warning("%s: %s; using the one before", error.where, error.reason)
    if found:
        raise StateError(str(folder), f"none of {len(found)} checkpoints is usable", "start a new run")
    return None


def load(path: Path, accept: Callable[[Checkpoint], object] = lambda found: None) -> Checkpoint:
    """The checkpoint at `path`: a checkpoint's folder, or a run folder, of which the newest is taken.

    Args:
        path: the folder.
        accept: see `load_newest`.

    Raises:
        StateError: if there is none, or it is not usable.
    """
    if (path / "manifest.json").exists():
        alone = _read(path)
        accept(alone)
        return alone
    newest = load_newest(path / "checkpoints", accept)
    if newest is None:
        raise StateError(str(path), "holds no checkpoint", "give a run folder or one of its checkpoints")
    return newest


def _read(path: Path) -> Checkpoint:
    try:
        manifest = read_json(path / "manifest.json")
        if not isinstance(manifest, dict):
            raise StateError(str(path), "manifest.json must hold a mapping")
        if manifest["format"] != FORMAT:
            raise StateError(str(path), f"has format {manifest['format']}, this version reads {FORMAT}")
        own = manifest.pop(SEAL, None)
        if own != seal(manifest) and (own is not None or "config" in manifest):  # older checkpoints have neither
            raise StateError(str(path), "manifest.json is damaged: its hash is not that of its content")
        if wrong := mismatch({key: manifest[key] for key in RECORD}, RECORD) or _wrong_position(manifest["positions"]):
            raise StateError(str(path), f"manifest.json is not one that a run wrote: {wrong}")
        tensors = read_bytes(path / "tensors.pt", largest=MEMORY)
        if hashlib.sha256(tensors).hexdigest() != manifest["files"]["tensors.pt"]["sha256"]:
            raise StateError(str(path), "tensors.pt is damaged: its hash is not the one in the manifest")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError(str(path), f"is damaged: {type(error).__name__} {str(error)[:200]}") from error
    try:
        state = read_archive(tensors)
    except ValueError as error:
        raise StateError(str(path), f"tensors.pt holds more than tensors and plain containers: {error}") from error
    if not isinstance(state, dict):
        raise StateError(str(path), "tensors.pt is not one that a run wrote: it must hold a mapping")
    return Checkpoint(manifest["iteration"], state, manifest["positions"], manifest.get("config"))


def _wrong_position(positions: Mapping[str, Any]) -> str | None:
    for sink, position in positions.items():
        if not isinstance(position, dict):
            return f"positions.{sink}: must be a mapping"
        for name, value in position.items():
            if not isinstance(value, str) and (type(value) is not int or not 0 <= value < 2**63):
                return f"positions.{sink}.{name}: must be a length or a hash"
    return None


def _text(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, allow_nan=False).encode()


def _score(path: Path) -> float | None:
    try:
        score = read_json(path / "manifest.json")["score"]
    except (OSError, ValueError, KeyError, TypeError, StateError):
        return None
    return score if isinstance(score, float) else None
