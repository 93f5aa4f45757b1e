"""Can a composed configuration run? Decided from plain containers and source text, before torch is imported.

Checked are: unknown, missing and wrong keys against `Settings` and the constructors' annotations, at any depth; every
`_target_` against the allowed packages; and that what the chosen components require of each other is provided.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from metarl_run.config.annotation import Component
from metarl_run.config.nearest import hint, leaves
from metarl_run.config.settings import Settings
from metarl_run.config.signature import Signature, signature
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS
from metarl_run.kinds import Distributions, problem

BASES = {
    "env": "metarl_run.env.base.TaskFamily",
    "learner": "metarl_run.learner.base.BaseLearner",
    "network": "metarl_run.network.base.Network",
    "algo": "metarl_run.algo.base.MetaAlgorithm",
    "logger": "metarl_run.logger.base.Sink",
}
SUPPLIED = frozenset(
    {"family", "learner", "network", "meta_params", "observation_space", "action_space", "num_inputs", "heads"}
)
"""Constructor arguments that the runner gives where a signature names them, so that YAML need not."""

PATHS = ("checkpoint", "resume", "output_root")
LONGEST_WORD, LONGEST_PATH, LONGEST_REASON = 300, 4000, 300  # characters

PHRASES = {
    "tabular": "a tabular family",
    "discrete_actions": "discrete actions",
    "continuous_actions": "continuous actions",
}


def validate(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    providers: Callable[[str], Sequence[str]] = lambda word: (),
) -> None:
    """Raise ConfigError, naming one key, unless a run can be made from `config`.

    Args:
        config: plain containers, interpolations resolved.
        choices: the option chosen in each group.
        providers: for a word that something requires, the options like `env=random_mdp` that provide it.
    """
    _check_words(config, "")
    top = [field.name for field in dataclasses.fields(Settings)]
    _check_keys(config, "", required=[*top, *GROUPS], allowed=[*top, *GROUPS])
    _check_settings(Settings, config, "")
    if config["checkpoint"] is not None and config["resume"] is not None:
        raise ConfigError("resume", "cannot be given together with checkpoint", "resume continues a run as it was")
    packages = ("metarl_run", *config["plugins"])
    found = [
        (group, _check_component(config[group], group, BASES[group], packages)) for group in GROUPS if group != "logger"
    ]
    for name, sink in _mapping(config["logger"], "logger").items():
        found.append(("logger", _check_component(sink, f"logger.{name}", BASES["logger"], packages)))
    _check_capabilities(found, choices, providers)


def _check_words(value: Any, path: str) -> None:
    """Nothing is missing, and no word holds what would garble a file name or a log line."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                raise ConfigError(here, f"must be a word as a key, got {key!r}")
            _check_words(entry, here)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            _check_words(entry, f"{path}[{place}]")
    elif isinstance(value, str):
        longest = LONGEST_PATH if path in PATHS else LONGEST_WORD
        if value == "???":
            raise ConfigError(path, "must be given", f"add {path}=VALUE")
        if re.search(r"[\x00-\x1f\x7f]", value):
            raise ConfigError(path, f"must not contain control characters, got {_short(repr(value))}")
        if len(value) > longest:
            raise ConfigError(path, f"must have at most {longest} characters, got {len(value)}")


def _check_keys(config: Mapping[str, Any], path: str, *, required: Sequence[str], allowed: Sequence[str]) -> None:
    for key in config:
        if key not in allowed:
            raise ConfigError(_join(path, key), "unknown key", _meant(key, path, config, allowed))
    for key in required:
        if key not in config:
            raise ConfigError(_join(path, key), "is missing", f"add +{_join(path, key)}=VALUE")


def _meant(key: str, path: str, config: Mapping[str, Any], allowed: Sequence[str]) -> str | None:
    """A key of that very name elsewhere in the configuration, else the most similar one here."""
    elsewhere = [leaf for leaf in leaves({k: v for k, v in config.items() if k in allowed}) if leaf.endswith(f".{key}")]
    return f"did you mean {_join(path, elsewhere[0])}?" if elsewhere else hint(key, allowed)


def _check_settings(record: type, config: Mapping[str, Any], path: str) -> None:
    for name, kind in get_type_hints(record, include_extras=True).items():
        here = _join(path, name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            names = [field.name for field in dataclasses.fields(kind)]
            _check_keys(_mapping(config[name], here), here, required=names, allowed=names)
            _check_settings(kind, config[name], here)
        else:
            _check_value(kind, config[name], here)


def _check_component(node: Any, path: str, base: str | None, packages: tuple[str, ...]) -> Signature:
    """A mapping with `_target_` and exactly the arguments that the class takes."""
    target = _mapping(node, path).get("_target_")
    where = f"{path}._target_"
    if not isinstance(target, str):
        raise ConfigError(where, "is missing" if target is None else f"must be a dotted name, got {target!r}")
    if target.partition(".")[0] not in packages:
        advice = f"if you trust it, add plugins=[{target.partition('.')[0]}]"
        raise ConfigError(where, f"must be in metarl_run or a package named in plugins, got {_short(target)}", advice)
    taken = signature(target, packages)
    if taken is None:
        raise ConfigError(where, f"there is no class {_short(target)}", _where_to_look(target))
    if base and taken.bases and base not in taken.bases and not taken.takes_more:
        raise ConfigError(where, f"must be a {base.rpartition('.')[2]}, got {target.rpartition('.')[2]}")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    named = [name for name in taken.parameters if name not in SUPPLIED]
    required = [name for name in named if taken.parameters[name].required]
    _check_keys(arguments, path, required=required, allowed=[*arguments] if taken.takes_more else named)
    for key, value in arguments.items():
        parameter = taken.parameters.get(key)
        _check_argument(parameter.kind if parameter else None, value, _join(path, key), packages)
    return taken


def _check_argument(kind: Any, value: Any, path: str, packages: tuple[str, ...]) -> None:
    if isinstance(kind, Component) and (value is not None or not kind.optional):
        _check_component(value, path, kind.base, packages)
    elif isinstance(value, Mapping) and "_target_" in value:
        _check_component(value, path, None, packages)
    elif kind is None and isinstance(value, Mapping | list):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_argument(None, entry, _join(path, str(key)), packages)
    elif kind is not None:
        _check_value(kind, value, path)


def _check_value(kind: Any, value: Any, path: str) -> None:
    checks = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    for check in checks:
        if isinstance(check, Distributions) and isinstance(value, Mapping):
            _check_keys(value, path, required=check.keys, allowed=check.keys)
            for key, entry in value.items():
                _refuse(check.entry_problem(key, entry), _join(path, key))
    _refuse(problem(kind, value), path)


def _refuse(reason: str | None, path: str) -> None:
    if reason is not None:
        raise ConfigError(path, _short(reason))


def _check_capabilities(
    found: Sequence[tuple[str, Signature]], choices: Mapping[str, str], providers: Callable[[str], Sequence[str]]
) -> None:
    provided = {word for _, taken in found for word in taken.provides}
    for group, taken in found:
        for word in taken.requires:
            if word in provided:
                continue
            able = providers(word)
            groups = {option.partition("=")[0] for option in able} or {"env"}
            chosen = " and ".join(f"{group}={choices.get(group)}" for group in GROUPS if group in groups)
            raise ConfigError(
                group,
                f"{choices.get(group)} requires {PHRASES.get(word, word)}, which {chosen} does not provide",
                f"{' or '.join(able)} provides it" if able else None,
            )


def _where_to_look(target: str) -> str | None:
    package = target.partition(".")[0]
    return None if package == "metarl_run" else f"install {package}, or add the folder that holds it to PYTHONPATH"


def _mapping(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(path, f"must be a mapping of keys to values, got {_short(repr(value))}")
    return value


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else str(key)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"
