"""Checkpoints: atomic, versioned, exact.

A checkpoint is a folder `checkpoints/<iteration>/` with `tensors.pt`, read back with `weights_only=True`, and
`manifest.json`, which holds its size and hash, the agent's configuration, and a hash of itself. The folder is written
under a temporary name and renamed, so a name without a dot is always a whole checkpoint; the hashes catch what the disk
did to it later.
"""

import hashlib
import io
import json
import logging
import os
import pickle
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metarl_run.errors import StateError
from metarl_run.folders import checkpoints_in
from metarl_run.logger.base import Position
from metarl_run.system.atomic import refusals, sync_folder, write_synced

FORMAT = 1
LAST_KEPT = 2
SEAL = "sha256"  # key of the manifest's own hash

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
    shutil.rmtree(final, ignore_errors=True)  # only ever there if it was damaged and its iteration was run again
    _remove(folder.glob(".*.tmp"))
    with refusals(final, f"write {len(tensors)} bytes"):
        try:
            temporary.mkdir(parents=True)
            write_synced(temporary / "tensors.pt", tensors)
            write_synced(temporary / "manifest.json", _text({**manifest, SEAL: _seal(manifest)}))
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
            shutil.rmtree(path)


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest usable checkpoint under `folder`; None if there never was one.

    A damaged checkpoint is passed over with a warning.

    Raises:
        StateError: if there are checkpoints but none is usable.
    """
    found = checkpoints_in(folder)
    for path in reversed(found):
        try:
            return _read(path)
        except StateError as error:
            log.warning("%s: %s; using the one before", error.where, error.reason)
    if found:
        raise StateError(str(folder), f"none of {len(found)} checkpoints is usable", "start a new run")
    return None


def hash_of(file: Path) -> str | None:
    """Hash of a file; None if there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def load(path: Path) -> Checkpoint:
    """The checkpoint at `path`: a checkpoint's folder, or a run folder, of which the newest is taken.

    Raises:
        StateError: if there is none, or it is damaged.
    """
    if (path / "manifest.json").is_file():
        return _read(path)
    newest = load_newest(path / "checkpoints")
    if newest is None:
        raise StateError(str(path), "holds no checkpoint", "give a run folder or one of its checkpoints")
    return newest


def _read(path: Path) -> Checkpoint:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        if manifest["format"] != FORMAT:
            raise StateError(str(path), f"has format {manifest['format']}, this version reads {FORMAT}")
        seal = manifest.pop(SEAL, None)
        if seal != _seal(manifest) and (seal is not None or "config" in manifest):  # older checkpoints have neither
            raise StateError(str(path), "manifest.json is damaged: its hash is not that of its content")
        tensors = (path / "tensors.pt").read_bytes()
        if hashlib.sha256(tensors).hexdigest() != manifest["files"]["tensors.pt"]["sha256"]:
            raise StateError(str(path), "tensors.pt is damaged: its hash is not the one in the manifest")
        state = torch.load(io.BytesIO(tensors), map_location="cpu", weights_only=True)
        return Checkpoint(manifest["iteration"], state, manifest["positions"], manifest.get("config"))
    except pickle.UnpicklingError as error:
        raise StateError(str(path), "holds more than tensors and plain containers, which is not loaded") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(str(path), f"is damaged: {type(error).__name__} {error}") from error


def _text(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, allow_nan=False).encode()


def _seal(manifest: Mapping[str, Any]) -> str:
    """Hash of a manifest, without its own."""
    return hashlib.sha256(_text(manifest)).hexdigest()


def _score(path: Path) -> float | None:
    try:
        score = json.loads((path / "manifest.json").read_bytes())["score"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return score if isinstance(score, float) else None
