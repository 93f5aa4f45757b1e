"""Plan of a run, and its record in the run folder and in checkpoints. Nothing heavy is imported here."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl_run.config.renamed import with_current_targets
from metarl_run.config.syntax import read_yaml
from metarl_run.errors import StateError
from metarl_run.files import SEAL, read_json, seal
from metarl_run.folders import GROUPS, checkpoints_in


@dataclass(frozen=True)
class Plan:
    """Resolved configuration of a run, the chosen option of each group, and the overrides that led to them.

    `in_sweep` marks one of several runs, which should not fill the screen. Of a job of a sweep, `sweep` is the name of
    that, `launcher` the option that started it, and `command` the arguments of the command line that asked for it.
    """

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    overrides: list[str]
    in_sweep: bool = False
    launcher: str | None = None
    sweep: str | None = None
    command: Sequence[str] | None = None


def stored_plan(folder: Path) -> Plan:
    """The plan that the run in `folder` was begun with.

    Nothing that the files say is trusted: the configuration is not validated here.

    Raises:
        StateError: if `folder` is not a run folder.
    """
    try:
        record = read_record(folder)
        config = read_yaml(folder / "config.yaml")
        if not isinstance(config, dict):
            raise ValueError("config.yaml holds no mapping")
        choices = {str(group): str(option) for group, option in record["choices"].items()}
        return Plan(with_current_targets(config), choices, [str(text) for text in record["overrides"]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StateError) as error:
        why = f"{error.where}: {error.reason}" if isinstance(error, StateError) else " ".join(str(error).split())
        raise StateError(
            str(folder),
            f"is not a run folder: {why}",
            "give the folder that holds config.yaml",
        ) from error


def read_record(folder: Path) -> dict[str, Any]:
    """The content of run.json: choices, overrides, versions and hashes, all of the kinds that a run writes.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it holds something else, or is damaged.
    """
    record = read_json(folder / "run.json")
    kinds = {
        "choices": dict,
        "overrides": list,
        "versions": dict,
        "configs": list,
        "changes": list,
        "family_versions": list,
        "products": dict,
        "provenance": dict,
        "gflops": dict,
        "compiled": bool,
    }
    if not isinstance(record, dict) or any(not isinstance(record.get(k, kind()), kind) for k, kind in kinds.items()):
        raise ValueError("run.json is not one that a run wrote")
    own = record.pop(SEAL, None)
    if own != seal(record) and (own is not None or "format" in record):  # older ones have neither
        raise ValueError("run.json is damaged: its hash is not that of its content")
    for group, option in record["choices"].items():
        if not re.fullmatch(r"[\w./@-]{1,200}", f"{group}{option}"):
            raise ValueError(f"run.json names the option {option!r} of {group!r}"[:200])
    if missing := [group for group in GROUPS[:-1] if group not in record["choices"]]:
        raise ValueError(f"run.json names no {missing[0]}")
    return record


def trained_plan(path: Path) -> Plan:
    """The plan of the run that made a checkpoint: from its manifest or, where that is older, from its run folder.

    Nothing that the files say is trusted: the configuration is not validated here.

    Args:
        path: a checkpoint's folder, or a run folder, of which the newest checkpoint counts.

    Raises:
        StateError: if there is no checkpoint, or it cannot be known what agent it holds.
    """
    if not path.is_dir():
        raise StateError(str(path), "there is no such folder to start from")
    alone = (path / "manifest.json").is_file()
    found = [path] if alone else checkpoints_in(path / "checkpoints")[::-1]
    if not found:
        raise StateError(str(path), "holds no checkpoint", "give a run folder or one of its checkpoints")
    run = path.absolute().parents[1] if alone else path
    around = stored_plan(run) if any((run / name).exists() for name in ("run.json", "config.yaml")) else None
    plan = next((recorded for recorded in map(_plan_in_manifest, found) if recorded is not None), around)
    if plan is None:
        reason = "tells nothing of the agent that it holds, and no run folder is around it"
        raise StateError(str(path), reason, "put it back into the folder checkpoints of its run")
    return plan


def _plan_in_manifest(folder: Path) -> Plan | None:
    """Plan recorded in a checkpoint; None in a damaged one, or one older than these records."""
    try:
        agent = read_json(folder / "manifest.json")["agent"]
        return Plan(
            with_current_targets(agent["config"]),
            {str(group): str(option) for group, option in agent["choices"].items()},
            [],
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StateError):
        return None


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one: dotted key → value."""
    if not isinstance(config, Mapping):
        return {prefix[:-1]: config}
    return {name: value for key, entry in config.items() for name, value in flat(entry, f"{prefix}{key}.").items()}
