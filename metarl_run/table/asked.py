"""The last request for a table's folder, stored so that a report alone shows the same.

asked.json holds the seed, the keys that determine the table's jobs and the job folders of learned cells; folders of
columns that the last command did not request are kept from earlier commands.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_run.config.table import table_of
from metarl_run.errors import StateError
from metarl_run.files import read_json
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text
from metarl_run.table.cells import Cell
from metarl_run.table.job import EvaluationJob

KEYS = ("rows", "columns", "tasks", "tuning_tasks", "tasks_at_once")


def write(root: Path, config: Mapping[str, Any], learned: Mapping[Cell, Sequence[EvaluationJob]]) -> None:
    """Store the current request in `root`.

    Args:
        root: the table's folder.
        config: the table's configuration, resolved.
        learned: the jobs of learned cells.
    """
    folders = learned_folders(root)
    for cell, jobs in learned.items():
        folders.setdefault(cell.column, {})[cell.row] = [job.folder for job in jobs]
    content = {"seed": config["seed"], **{key: config["table"][key] for key in KEYS}, "learned": folders}
    write_atomically(root / "asked.json", json_text(content).encode())


def learned_folders(root: Path) -> dict[str, dict[str, list[str]]]:
    """Folders of learned jobs below `root`, by column and row."""
    folders = _read(root).get("learned")
    return folders if isinstance(folders, dict) else {}


def as_asked(config: Mapping[str, Any], root: Path, given: Collection[str]) -> Mapping[str, Any]:
    """The configuration that the table in `root` was last made with, overridden by the keys given now.

    Args:
        config: resolved and validated.
        root: the table's folder; the configuration is unchanged if it holds no table.
        given: keys on the command line.

    Raises:
        ConfigError: if the stored request does not fit the table.
    """
    stored = _read(root)
    table = {key: stored[key] for key in KEYS if key in stored and f"table.{key}" not in given}
    seed = config["seed"] if "seed" in given else stored.get("seed", config["seed"])
    changed = {**config, "seed": seed, "table": {**config["table"], **table}}
    table_of(changed["table"])
    return changed


def _read(root: Path) -> dict[str, Any]:
    try:
        found = read_json(root / "asked.json")
    except (OSError, ValueError, StateError):
        return {}
    return found if isinstance(found, dict) else {}
