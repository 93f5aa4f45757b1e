"""The run that a checkpoint comes from: its choices and values, as overrides before those of the command line."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import OmegaConf

from metarl_run.config.given import Given, given_by
from metarl_run.config.hydra_internals import ConfigLoaderImpl
from metarl_run.config.inherited import (
    INHERITED,
    INHERITED_GROUPS,
    inherited_overrides,
    inherited_with,
    overlaid,
    place_of,
)
from metarl_run.config.loader import CONFIG_NAME, current, load, one_line, parsed_overrides, resolved
from metarl_run.config.plan import Plan, trained_plan
from metarl_run.config.settings import Settings
from metarl_run.config.validation import validate
from metarl_run.errors import CONTROLS, ConfigError, StateError


def with_origin(
    loader: ConfigLoaderImpl, name: str, overrides: Sequence[str], plugins: Sequence[str]
) -> tuple[list[str], Plan | None]:
    """Overrides of a run, after those that it inherits from the run that made its checkpoint.

    Returns:
        The overrides and the plan of that run; the overrides as they are and None where there is no checkpoint.

    Raises:
        StateError: if the key `checkpoint` names none, or the configuration of its run cannot be used.
    """
    parsed = parsed_overrides(overrides)
    given = given_by(parsed, loader.repository)
    checkpoint = _checkpoint(loader, name, parsed, given)
    if checkpoint is None:
        return [*overrides], None
    origin = trained_plan(Path(checkpoint).expanduser())
    own, choices = _own(loader, name, checkpoint, origin, plugins)
    other = {place_of(group) for group, option in given.options.items() if origin.choices.get(group) != option}

    def is_given(key: str) -> bool:
        return key in given.keys or any(key == place or key.startswith(f"{place}.") for place in other)

    chosen = [f"{g}={option}" for g, option in choices.items() if g not in given.options and not is_given(place_of(g))]
    return [*chosen, *inherited_overrides(origin.config, own, is_given, checkpoint), *overrides], origin


def _checkpoint(loader: ConfigLoaderImpl, name: str, parsed: Sequence[Override], given: Given) -> str | None:
    """Value of the key `checkpoint`; None if there is none, or validation will refuse it."""
    if "checkpoint" not in given.keys and name == CONFIG_NAME:
        return None
    plain = {"experiment", *(field.name for field in dataclasses.fields(Settings))}
    cfg = load(loader, name, [str(o.input_line) for o in parsed if o.key_or_group in plain], RunMode.RUN)
    with one_line(), current(cfg):
        found, others = cfg.get("checkpoint"), (cfg.get("resume"), cfg.get("table"))
    usable = isinstance(found, str) and found and not re.search(f"[{CONTROLS}]", found) and others == (None, None)
    return str(found) if usable else None


def _own(
    loader: ConfigLoaderImpl, name: str, checkpoint: str, origin: Plan, plugins: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Unresolved configuration of the choices of the run that made a checkpoint, without its values; and these choices.

    Raises:
        StateError: if these choices are no options here, or the run's configuration is not one that may be run.
    """
    choices = {group: origin.choices.get(group, "") for group in INHERITED_GROUPS}
    try:
        if odd := [option for option in choices.values() if not re.fullmatch(r"[\w.-]+", option)]:
            raise ConfigError("choices", f"must be names of options, got {odd[0]!r}")
        cfg = load(loader, name, [f"{group}={option}" for group, option in choices.items()], RunMode.RUN)
        parts = {
            str(group): origin.choices[str(group)]
            for group, option in cfg.hydra.runtime.choices.items()
            if inherited_with(str(group)) and origin.choices.get(str(group), option) != option
        }
        if parts:  # such as algo/meta_optimizer=sgd
            choices |= parts
            cfg = load(loader, name, [f"{group}={option}" for group, option in choices.items()], RunMode.RUN)
        now = resolved(cfg)
        run = {key: overlaid(now[key], origin.config.get(key, now[key])) for key in INHERITED}
        validate({**now, **run, "plugins": [*plugins]}, choices)
    except ConfigError as error:
        hint = error.hint or ("give the --config-dir that it was run with" if error.where in choices else None)
        raise StateError(checkpoint, f"{error.where}: {error.reason}", hint) from error
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    return {str(key): value for key, value in raw.items()}, choices
