"""The libraries that multiply in a run: chosen before its first product, recorded, and never changed by a machine.

A choice stands in run.json, or, of several runs of one command, in one file beside their folders:

    {"products": {"plain, large": "onednn", …}, "gflops": {"plain, large": {"mkl": 107.0, "onednn": 231.0}, …}}
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from metarl_run.config.plan import read_record
from metarl_run.errors import StateError
from metarl_run.files import SEAL, read_json, seal
from metarl_run.folders import checkpoints_in
from metarl_run.network.product import AVAILABLE, CLASSES, LEVEL, MKL, ONEDNN, Choice, Library
from metarl_run.network.product_speed import FASTER, Measured, measured, slower_classes
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text

FILE = "products.json"
"""Name of the choice that runs of one command share."""
FIXED: Mapping[str, Choice] = {"mkl": MKL, "onednn": ONEDNN}

log = logging.getLogger(__name__)


def choice_of_run(config: Mapping[str, Any], folder: Path, shared: Path | None) -> Choice:
    """The libraries of the run in `folder`: as it was begun, or else chosen and recorded now.

    Args:
        config: the run's.
        folder: with its run.json.
        shared: file with the choice of the sweep or table that it is part of.
    """
    record = read_record(folder)
    asked = config.get("products", "auto")
    if asked == "auto" and "products" in record:
        chosen = choice_in(record, folder / "run.json")
        if not on_gpu(config):
            _warn_if_slow(chosen, folder)
        return chosen
    if asked in FIXED:
        found = Measured(FIXED[asked], {})
    elif checkpoints_in(folder / "checkpoints"):  # it is older than the choice
        found = Measured(LEVEL, {})
    else:
        found = _chosen(config, shared)
    content = {**record, **entries(found)}
    if content != record:
        write_atomically(folder / "run.json", json_text({**content, SEAL: seal(content)}).encode())
    return found.choice


def choice_of_job(config: Mapping[str, Any], shared: Path | None) -> Choice:
    """The libraries of an evaluation that keeps no record of its own."""
    asked = config.get("products", "auto")
    if asked in FIXED:
        return FIXED[asked]
    return _read(shared).choice if shared is not None and shared.exists() else LEVEL


def share(folder: Path, *, begun: bool) -> None:
    """Choose for all runs of the sweep or table in `folder`, unless that was done before.

    Args:
        folder: of the sweep or table.
        begun: some of its runs exist already; they are older than the choice if there is none.
    """
    if not (folder / FILE).exists():
        found = Measured(LEVEL, {}) if begun else measured()
        write_atomically(folder / FILE, json_text(entries(found)).encode())


def entries(found: Measured) -> dict[str, Any]:
    """Entries of a record."""
    rates = {name: {library: round(rate, 1) for library, rate in of.items()} for name, of in found.gflops.items()}
    return {"products": {**found.choice}, "gflops": rates}


def choice_in(record: Mapping[str, Any], path: Path) -> Choice:
    """The choice in a record from `path`.

    Raises:
        StateError: if it names no library, or is none.
    """
    stored = record.get("products")
    choice: dict[str, Library] = {**LEVEL, **(stored if isinstance(stored, dict) else {})}
    for name, library in choice.items():
        if not isinstance(stored, dict) or name not in CLASSES or library not in get_args(Library):
            raise StateError(str(path), "products must name mkl or onednn for each class of products")
    return choice


def _chosen(config: Mapping[str, Any], shared: Path | None) -> Measured:
    if shared is not None and shared.exists():
        return _read(shared)
    return Measured(LEVEL, {}) if on_gpu(config) else measured()


def on_gpu(config: Mapping[str, Any]) -> bool:
    """True of a run whose products no library of the CPU takes."""
    return config["device"] != "cpu" and torch.cuda.is_available()


def _read(path: Path) -> Measured:
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        raise StateError(str(path), f"cannot be read: {error}", "remove it to choose anew") from error
    record = record if isinstance(record, dict) else {}
    return Measured(choice_in(record, path), {})


def _warn_if_slow(choice: Choice, folder: Path) -> None:
    """Say so if this machine would have chosen otherwise: the run goes on in the same bytes, but not as fast."""
    if not AVAILABLE:
        if "onednn" in choice.values():
            log.warning("%s was begun with products by oneDNN, which torch lacks here: its result may differ", folder)
        return
    if slow := slower_classes(choice, measured().gflops):
        log.warning(
            "%s goes on with the libraries that it was begun with; another one multiplies %s times as fast here: %s",
            folder,
            FASTER,
            "; ".join(slow),
        )
