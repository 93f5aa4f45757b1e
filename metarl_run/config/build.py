"""From a validated configuration to objects: the class that `_target_` names is called with what stands beside it."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from metarl_run.config.offered import Offered
from metarl_run.errors import ConfigError

EXTRAS = {"mujoco": '"gymnasium[mujoco]"', "yaml": "pyyaml"}
"""Distributions of modules that bear another name."""


def build(config: Mapping[str, Any], offered: Offered, *, plugins: Sequence[str], where: str) -> Any:
    """The object that `config` describes; mappings with a `_target_` inside it are built first.

    Args:
        config: `_target_` and constructor arguments; not modified.
        offered: objects that go to the constructors that name them, unless `config` has a value.
        plugins: packages besides metarl_run that a `_target_` may come from.
        where: dotted key of `config`, for messages.

    Raises:
        ConfigError: if the target is not allowed or does not exist, or its constructor raises ValueError.
    """
    make = locate(config["_target_"], plugins, f"{where}._target_")
    arguments = {
        key: _built(value, offered, plugins, f"{where}.{key}") for key, value in config.items() if key != "_target_"
    }
    names = inspect.signature(make).parameters
    arguments |= {name: value for name, value in offered.items() if name in names and name not in arguments}
    try:
        return make(**arguments)
    except ValueError as error:
        name, _, reason = str(error).partition(" ")
        argument = name.partition(".")[0]
        at_fault, reason = (f"{where}.{name}", reason) if argument in names else (where, str(error))
        raise ConfigError(at_fault, reason, getattr(make, "advice", {}).get(argument)) from error


def locate(target: str, plugins: Sequence[str], where: str) -> Any:
    """The class called `target`; nothing outside metarl_run and `plugins` is imported or returned."""
    allowed = {"metarl_run", *plugins}
    module, _, name = target.rpartition(".")
    if not module or target.partition(".")[0] not in allowed:
        raise ConfigError(where, f"must be in metarl_run or a package named in plugins, got {target}")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else target
        outside = missing.partition(".")[0] not in allowed
        hint = f"pip install {EXTRAS.get(missing, missing.partition('.')[0])}" if outside else None
        raise ConfigError(where, f"cannot be imported: {error}", hint) from error
    if not isinstance(found, type) or found.__module__.partition(".")[0] not in allowed:
        raise ConfigError(where, f"must be a class of metarl_run or of a package named in plugins, got {target}")
    return found


def _built(value: Any, offered: Offered, plugins: Sequence[str], where: str) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return build(value, offered, plugins=plugins, where=where)
        return {key: _built(entry, offered, plugins, f"{where}.{key}") for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_built(entry, offered, plugins, f"{where}[{place}]") for place, entry in enumerate(value)]
    return value
