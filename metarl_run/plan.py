"""What a run was asked for, and how its folder remembers it. Nothing heavy is imported here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from metarl_run.errors import StateError


@dataclass(frozen=True)
class Plan:
    """What to run: resolved configuration, the chosen option of each group, and the overrides that led to them.

    `in_sweep` says that other runs come before or after it, so it should not fill the screen.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: list[str]
    in_sweep: bool = False


def stored_plan(folder: Path) -> Plan:
    """The plan that the run in `folder` was begun with.

    Nothing that the files say is trusted: the configuration is not validated here.

    Raises:
        StateError: if `folder` is not a run folder.
    """
    try:
        record = json.loads((folder / "run.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        if not isinstance(config, dict):
            raise ValueError("config.yaml holds no mapping")
        choices = {str(group): str(option) for group, option in record["choices"].items()}
        return Plan(config, choices, [str(text) for text in record["overrides"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise StateError(
            str(folder), f"is not a run folder: {error}", "give the folder that holds config.yaml"
        ) from error


def refuse_links(folder: Path) -> None:
    """Raise StateError if writing to the run in `folder` would write elsewhere."""
    inside = folder.resolve()
    for path in (*folder.iterdir(), *folder.glob("checkpoints/**/*"), *folder.glob("wandb/*")):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise StateError(str(path), "is a link that leads out of the run folder", "put what it names in its place")
