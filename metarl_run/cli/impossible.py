"""What would fail for sure, refused before a folder is made."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_run.config.collection import can_learn_from_data, dataset_folder, learns_from_data
from metarl_run.config.point import Composed, Point
from metarl_run.config.size import largest_keys
from metarl_run.dataset.card import FILE, read_card, require_suited
from metarl_run.errors import ConfigError, ResourceError, StateError
from metarl_run.folders import GROUPS
from metarl_run.system import machine
from metarl_run.system.atomic import BROKEN
from metarl_run.system.crash import Contained
from metarl_run.system.cxx import require_cxx
from metarl_run.system.lock import require_free
from metarl_run.system.video import require_writer


@contextlib.contextmanager
def output_in(folder: Path) -> Iterator[None]:
    """What the system refuses here is the fault of who chose the folder, unless the disk is full or fails."""
    try:
        yield
    except OSError as error:
        if error.errno in BROKEN:
            raise ResourceError(str(folder), f"cannot be written: {error.strerror}") from error
        reason = f"{folder} cannot be written: {error.strerror}"
        raise ConfigError("output_root", reason, "output_root=FOLDER") from error


def refuse_impossible(composed: Composed) -> None:
    """Raise RunError if a run or sweep cannot begin on this machine, in its folder, or with what it builds."""
    if composed.multirun:
        _refuse_absent_queue(composed)
    else:
        require_free(Path(str(composed.points[0].config["resume"] or composed.points[0].folder)))
    for point in composed.points:
        refuse_absent(point.config)
        require_writer(point.config["film"] or "gif")
        if point.config["resume"] is not None and not Path(str(point.config["resume"])).is_dir():
            raise StateError(str(point.config["resume"]), "there is no such folder to resume from")
    folder = Path(composed.points[0].sweep_folder if composed.multirun else composed.points[0].folder).absolute()
    refuse_unwritable(folder)
    if composed.search is not None:
        from metarl_run.search.study import require_same

        require_free(folder)
        require_same(folder, composed.search)
    if not composed.multirun and composed.points[0].config["resume"] is None:
        from metarl_run.run.folder import require_own

        require_own(Path(composed.points[0].folder))
    _refuse_unbuildable(composed.points)


def _refuse_absent_queue(composed: Composed) -> None:
    target = str(composed.points[0].composed.hydra.launcher._target_)
    if target.endswith(".SlurmLauncher") and shutil.which("srun") is None:
        hint = "hydra/launcher=joblib or submitit_local runs jobs on this machine"
        raise ConfigError("hydra/launcher", "submitit_slurm needs SLURM, and there is no srun here", hint)


@machine.garbage_kept()
def _refuse_unbuildable(points: Sequence[Point]) -> None:
    """What only constructors can tell, of each point of a sweep that differs in what it builds."""
    built: set[str] = set()
    for point in points:
        parts = repr([point.config[key] for key in (*GROUPS, "meta_batch_size")])
        if parts not in built and point.config["resume"] is None and point.config["table"] is None:
            from metarl_run.run.agent import require_buildable

            built.add(parts)
            with Contained(None, point.config["plugins"], largest_keys(point.config)):
                require_buildable(point.config)


def refuse_unwritable(folder: Path) -> None:
    """Raise ConfigError or ResourceError if `folder` cannot be made."""
    parent = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not parent.exists():
        raise ConfigError("output_root", f"{parent} is a link to {os.readlink(parent)}, which does not exist")
    with output_in(parent):
        os.rmdir(tempfile.mkdtemp(prefix=".metarl-run-", dir=parent))  # permissions do not tell, as of root in /proc


def refuse_absent(config: Mapping[str, Any]) -> None:
    """Raise RunError if the data, the device, the library or the compiler that `config` asks for are not here."""
    _refuse_absent_data(config)
    _refuse_absent_device(config)
    _refuse_absent_library(config)
    _refuse_absent_compiler(config)


def _refuse_absent_data(config: Mapping[str, Any]) -> None:
    if config.get("table") is not None:
        return
    if config.get("collect") is not None and not can_learn_from_data(config):
        reason = "is for algorithms that learn from a dataset; the data alone are made by another command"
        raise ConfigError("collect", reason, "metarl-run collect with the same arguments")
    if not learns_from_data(config):
        return
    folder = dataset_folder(config)
    if folder is not None and (config.get("dataset") is not None or (folder / FILE).exists()):
        try:
            card = read_card(folder)
        except StateError as error:
            raise ConfigError("dataset", f"{error.where} {error.reason}", error.hint) from error
        require_suited(card, config, folder)


def _refuse_absent_device(config: Mapping[str, Any]) -> None:
    """Never silently the CPU for who asked for a GPU."""
    if config["device"] == "cuda":
        import torch

        if not torch.cuda.is_available():
            reason = "must be one of the devices available: cpu, got cuda"
            raise ConfigError("device", reason, "device=cpu; device=auto takes a GPU where there is one")


def _refuse_absent_library(config: Mapping[str, Any]) -> None:
    if config.get("products") == "onednn":
        from metarl_run.network import product

        if not product.AVAILABLE:
            reason = "must be one of the libraries that torch was built with: mkl, got onednn"
            raise ConfigError("products", reason, "products=auto takes oneDNN where there is one that is faster")


def _refuse_absent_compiler(config: Mapping[str, Any]) -> None:
    if config["compile"] is not True:  # auto does without
        return
    if config["device"] == "cpu":
        require_cxx()
    import torch

    from metarl_run.compiled.compiler import require_compiler

    device = torch.device("cuda" if config["device"] != "cpu" and torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        require_cxx()
    require_compiler(device)
