"""What a table's folder was last asked for, so that a report alone shows the same.

asked.json holds the seed, the keys that say which jobs the table is made of, and for learned cells the folders of
their jobs; those of columns that the last command did not ask for are remembered from earlier ones.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from metarl_run.config.table import table_of
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text
from metarl_run.table.cells import Cell
from metarl_run.table.job import EvaluationJob

KEYS = ("rows", "columns", "tasks", "tuning_tasks", "tasks_at_once")


def write(root: Path, config: Mapping[str, Any], learned: Mapping[Cell, Sequence[EvaluationJob]]) -> None:
    """Remember what is asked for now.

    Args:
        root: the table's folder.
        config: of the table, resolved.
        learned: the jobs of learned cells.
    """
    folders = learned_folders(root)
    for cell, jobs in learned.items():
        folders.setdefault(cell.column, {})[cell.row] = [job.folder for job in jobs]
    content = {"seed": config["seed"], **{key: config["table"][key] for key in KEYS}, "learned": folders}
    write_atomically(root / "asked.json", json_text(content).encode())


def learned_folders(root: Path) -> dict[str, dict[str, list[str]]]:
    """By column and row the folders of learned jobs below `root`."""
    folders = _read(root).get("learned")
    return folders if isinstance(folders, dict) else {}


def as_asked(config: Mapping[str, Any], root: Path, given: Collection[str]) -> Mapping[str, Any]:
    """The configuration with which the table in `root` was last made, except for what is given now.

    Args:
        config: resolved and validated.
        root: the table's folder; where nothing was made the configuration stays as it is.
        given: keys of the command line.

    Raises:
        ConfigError: if what is stored does not suit the table.
    """
    stored = _read(root)
    table = {key: stored[key] for key in KEYS if key in stored and f"table.{key}" not in given}
    seed = config["seed"] if "seed" in given else stored.get("seed", config["seed"])
    changed = {**config, "seed": seed, "table": {**config["table"], **table}}
    table_of(changed["table"])
    return changed


def _read(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / "asked.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
