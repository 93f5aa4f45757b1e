"""Keys and options given by a command line, itself or through its experiment; all else are defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from metarl_run.config.hydra_internals import IConfigRepository
from metarl_run.config.plan import flat


@dataclass(frozen=True)
class Given:
    """Keys and options that are given.

    Attributes:
        keys: dotted, of values.
        options: by group.
    """

    keys: frozenset[str]
    options: Mapping[str, str]


def given_by(parsed: Sequence[Override], repository: IConfigRepository) -> Given:
    """Keys and options given by overrides, and by the files of the experiments that they choose."""
    keys: set[str] = set()
    options: dict[str, str] = {}
    for override in parsed:
        if override.key_or_group == "experiment" and not override.is_sweep_override():
            value = override.value()
            for option in value if isinstance(value, list) else [value]:
                content = _given_in(f"experiment/{option}", repository)
                keys |= content.keys
                options |= content.options
    for override in parsed:
        if repository.group_exists(override.key_or_group):
            options[override.get_key_element().lstrip("+~")] = str(override.value())
        else:
            keys.add(override.key_or_group)
    return Given(frozenset(keys), options)


def _given_in(path: str, repository: IConfigRepository) -> Given:
    """Keys and options given by an experiment's file and those that it is a variant of."""
    found = repository.load_config(path)
    if found is None:
        return Given(frozenset(), {})
    own = OmegaConf.to_container(found.config, resolve=False)
    keys, options = set(flat(own)), {}
    for default in found.defaults_list or []:
        if isinstance(default, GroupDefault):
            group = str(default.group).lstrip("/")
            options[f"{group}@{default.package}" if default.package else group] = str(default.value)
        elif isinstance(default, ConfigDefault) and default.path and not default.is_self():
            parent = default.path.lstrip("/") if default.path.startswith("/") else f"experiment/{default.path}"
            content = _given_in(parent, repository)
            keys, options = keys | content.keys, {**content.options, **options}
    return Given(frozenset(keys), options)
