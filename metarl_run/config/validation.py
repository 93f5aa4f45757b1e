"""Validation of a composed configuration, from plain containers and source text, before torch is imported.

Checked are unknown, missing and wrong keys against `Settings` and the constructors' annotations, at any depth; every
`_target_` against the allowed packages; and, in `metarl_run.config.capability`, that the components suit each other;
of a table, every cell in the same way.
"""

import dataclasses
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from metarl_run.config.capability import Chosen, check_capabilities, check_chunk, check_divided, outcomes_of
from metarl_run.config.collection import Collection, check_collection, check_data, collecting, parts_of
from metarl_run.config.episodes import check_episodes
from metarl_run.config.explain import PACKAGE_HINT
from metarl_run.config.nearest import hint, leaves, nearest
from metarl_run.config.objective import check_objective
from metarl_run.config.offered import OFFERED
from metarl_run.config.settings import PATHS, Settings
from metarl_run.config.static.annotation import Component, Components
from metarl_run.config.static.signature import signature
from metarl_run.config.table import check_table
from metarl_run.errors import CONTROLS, ConfigError
from metarl_run.folders import GROUPS
from metarl_run.kinds import Keyed, problem, problem_beside

BASES = {
    "env": "metarl_run.env.base.TaskFamily",
    "learner": "metarl_run.learner.base.BaseLearner",
    "network": "metarl_run.network.base.Network",
    "algo": "metarl_run.algo.base.MetaAlgorithm",
    "logger": "metarl_run.logger.base.Sink",
}
LONGEST_WORD, LONGEST_PATH, LONGEST_REASON = 300, 4000, 300  # characters


@dataclass(frozen=True)
class Within:
    """Context of a component.

    Attributes:
        packages: those that its class may come from.
        option: `algo=maml`, which it is part of; empty if that is not known.
    """

    packages: tuple[str, ...]
    option: str


def validate(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    offers: Callable[[], Mapping[str, Set[str]]] = lambda: {},
) -> list[Chosen]:
    """Raise ConfigError, naming one key, unless a run can be made from `config`; all of its components.

    Args:
        config: plain containers, interpolations resolved.
        choices: the option chosen in each group.
        offers: capabilities that each option like `env=random_mdp` provides; computed if a component lacks one.
    """
    _check_strings(config, "")
    top = dataclasses.fields(Settings)
    needed = [field.name for field in top if field.default is dataclasses.MISSING]
    _check_keys(config, "", required=[*needed, *GROUPS], allowed=[*(field.name for field in top), *GROUPS])
    _check_settings(Settings, config, "")
    for name in config["plugins"]:
        if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
            raise ConfigError("plugins", f"must be names of packages, got {name!r}")
    if config["checkpoint"] is not None and config["resume"] is not None:
        raise ConfigError("resume", "cannot be given together with checkpoint", "resume continues a run as it was")
    components = [component for group in GROUPS for component in _of_group(group, config, choices)]
    check_objective(config.get("objective", Settings.objective), outcomes_of(components))
    check_capabilities(components, choices, offers)
    check_chunk(config["meta_batch_chunk"], components)
    check_divided(config, components)
    check_episodes(config, components)
    if config.get("collect") is not None:
        wanted = _mapping(config["collect"], "collect")
        keys = [field.name for field in dataclasses.fields(Collection)]
        _check_keys(wanted, "collect", required=keys, allowed=keys)
        _check_settings(Collection, wanted, "collect")
    check_data(config, choices, components)
    if config.get("collect") is not None:
        _check_collection(config, choices, offers)
    if config["table"] is not None:
        check_table(config, choices, validate)
    return components


def _of_group(group: str, config: Mapping[str, Any], choices: Mapping[str, str]) -> Iterator[Chosen]:
    """The components of one group of the configuration."""
    within = Within(("metarl_run", *config["plugins"]), f"{group}={choices[group]}" if group in choices else "")
    whole = {group: config[group]} if group != "logger" else _mapping(config["logger"], "logger")
    for name, node in whole.items():
        path = group if group != "logger" else f"logger.{name}"
        yield from _components(node, path, BASES[group], within)


def _check_collection(
    config: Mapping[str, Any], choices: Mapping[str, str], offers: Callable[[], Mapping[str, Set[str]]]
) -> None:
    """Raise ConfigError, naming a key, unless the histories that `collect` describes can be collected."""
    own = {group: choices[f"{group}@collect.{group}"] for group in GROUPS if f"{group}@collect.{group}" in choices}
    named, agent = {**choices, **own}, collecting(config)
    try:
        parts = ["env", "algo", *parts_of(next(_of_group("algo", agent, named)).signature.parameters)]
        components = [component for group in parts for component in _of_group(group, agent, named)]
        check_capabilities(components, named, offers)
        if "learner" in parts:
            check_episodes(agent, components)
        check_collection(config, components)
    except ConfigError as error:
        group = error.where.partition(".")[0]
        another = config["collect"]["algo"] is not None and group in ("algo", "learner", "network")
        raise ConfigError(f"collect.{error.where}" if another else error.where, error.reason, error.hint) from error


def _check_strings(value: Any, path: str) -> None:
    """Raise ConfigError for a missing value, or a string that would garble a file name or a log line."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                raise ConfigError(here, f"must be a word as a key, got {key!r}")
            _check_strings(entry, here)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            _check_strings(entry, f"{path}[{place}]")
    elif isinstance(value, str):
        longest = LONGEST_PATH if path in PATHS else LONGEST_WORD
        if not value and path in PATHS:
            raise ConfigError(path, "must be a path, got an empty one", f"leave out {path}")
        if value == "???":
            raise ConfigError(path, "must be given", f"add {path}=VALUE")
        if re.search(f"[{CONTROLS}]", value):
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
    """A key of that very name elsewhere in the configuration, in a component first, else the most similar one here."""
    if not path and key == "experiment":
        return PACKAGE_HINT
    elsewhere = [leaf for leaf in leaves({k: v for k, v in config.items() if k in allowed}) if leaf.endswith(f".{key}")]
    elsewhere.sort(key=lambda leaf: leaf.partition(".")[0] not in GROUPS)
    if elsewhere:
        return f"did you mean {_join(path, elsewhere[0])}?"
    meant = nearest(key, allowed)
    return f"did you mean {_join(path, meant)}?" if meant else hint(key, allowed)


def _check_settings(record: type, config: Mapping[str, Any], path: str) -> None:
    for name, kind in get_type_hints(record, include_extras=True).items():
        if name not in config:  # has a default
            continue
        here = _join(path, name)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            fields = dataclasses.fields(kind)
            needed = [field.name for field in fields if field.default is dataclasses.MISSING]
            _check_keys(_mapping(config[name], here), here, required=needed, allowed=[field.name for field in fields])
            _check_settings(kind, config[name], here)
        else:
            _check_value(kind, config[name], here)


def _components(node: Any, path: str, base: str, within: Within) -> Iterator[Chosen]:
    """A mapping with `_target_` and exactly the arguments that the class takes; then the components among these."""
    target = _mapping(node, path).get("_target_")
    where = f"{path}._target_"
    if not isinstance(target, str):
        raise ConfigError(where, "is missing" if target is None else f"must be a dotted name, got {target!r}")
    if target.partition(".")[0] not in within.packages:
        package, dot, _ = target.partition(".")
        trusting = (
            f"if you trust it, add plugins=[{package}]" if dot and package not in sys.stdlib_module_names else None
        )
        raise ConfigError(where, f"must be in metarl_run or a package named in plugins, got {_short(target)}", trusting)
    taken = signature(target, within.packages)
    if taken is None:
        raise ConfigError(where, f"there is no class {_short(target)}", _where_to_look(target))
    class_name = target.rpartition(".")[2]
    if base not in taken.bases:
        advice = None if target.startswith("metarl_run.") else f"derive it from {base}"
        raise ConfigError(where, f"must be a {base.rpartition('.')[2]}, got {class_name}", advice)
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    named = [name for name in taken.parameters if name not in OFFERED]
    required = [name for name in named if taken.parameters[name].required]
    _check_keys(arguments, path, required=required, allowed=[*arguments] if taken.takes_more else named)
    group, _, option = within.option.partition("=")
    yield Chosen(path, option if path == group else class_name, taken, arguments)
    for key, value in arguments.items():
        parameter = taken.parameters.get(key)
        advice = taken.declared.advice.get(key) if type(value) in (int, float) else None
        yield from _argument(parameter.kind if parameter else None, value, _join(path, key), within, advice)
    for key, value in arguments.items():  # now that each is of its own kind
        if key in taken.parameters and (wrong := problem_beside(taken.parameters[key].kind, value, arguments)):
            _refuse(wrong[1], f"{path}.{key}{wrong[0]}", within.option, taken.declared.advice.get(key))


def _argument(kind: Any, value: Any, path: str, within: Within, advice: str | None) -> Iterator[Chosen]:
    """One constructor argument of a component; the components in it."""
    if isinstance(kind, Component) and (value is not None or not kind.optional):
        yield from _components(value, path, kind.base, within)
    elif isinstance(kind, Components) and isinstance(value, Mapping | list):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _components(entry, _join(path, str(key)), kind.base, within)
    elif isinstance(value, Mapping) and "_target_" in value:
        reason = "cannot be built here: the argument is not annotated with the class of a component"
        raise ConfigError(f"{path}._target_", reason, "write a value")
    elif kind is None and isinstance(value, Mapping | list):
        for key, entry in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _argument(None, entry, _join(path, str(key)), within, advice)
    elif kind is not None:
        _check_value(kind, value, path, within.option, advice)


def _check_value(kind: Any, value: Any, path: str, option: str = "", advice: str | None = None) -> None:
    checks = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    for check in checks:
        if isinstance(check, Keyed) and isinstance(value, Mapping):
            _check_keys(value, path, required=check.keys, allowed=check.keys)
            for key, entry in value.items():
                _refuse(check.entry_problem(key, entry), _join(path, key), option, advice)
    _refuse(problem(kind, value), path, option, advice)


def _refuse(reason: str | None, path: str, option: str, advice: str | None) -> None:
    """`must be …, got …`, between them the option whose argument it is."""
    if reason is not None:
        wanted, comma, got = reason.partition(", got ")
        named = f"{wanted} with {option}{comma}{got}" if option else reason
        raise ConfigError(path, _short(named), advice)


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
