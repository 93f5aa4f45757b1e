"""Settings that a run started from a checkpoint inherits, as overrides before those of its own command line.

    defaults  <  the run that made the checkpoint  <  experiment and command line

Inherited are the agent, its tasks, and the protocol of meta-training and evaluation. The seed is not: it selects the
held-out tasks, which are the same for all agents that one command compares.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from metarl_run.config.grammar import quoted
from metarl_run.config.plan import flat
from metarl_run.errors import StateError
from metarl_run.folders import GROUPS

INHERITED_GROUPS = tuple(group for group in GROUPS if group != "logger")
INHERITED = (
    *INHERITED_GROUPS,
    *("meta_iterations", "meta_batch_size", "meta_batch_chunk", "meta_batch_parts", "episodes_per_task"),
    *("normalise", "dataset", "collect", "meta_test", "meta_validation", "validate_every"),
)
COMPARED = (*INHERITED, "seed", "device", "products", "compile")
"""Keys whose differences are reported; all others concern storage and logging."""

ABSENT = object()


def agent_record(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, Any]:
    """Record of the agent, for its checkpoint: choices and settings."""
    groups = {group: option for group, option in choices.items() if inherited_with(group)}
    return {"choices": groups, "config": {key: config[key] for key in COMPARED if key in config}}


def inherited_with(group: str) -> str | None:
    """`algo` for the group `algo/meta_optimizer`: the inherited group that it is part of."""
    top = place_of(group).partition(".")[0]
    return top if top in INHERITED_GROUPS else None


def place_of(group: str) -> str:
    """Dotted key under which a group's option stands: `algo/meta_optimizer@algo.belief_optimizer` has a package."""
    name, _, package = group.partition("@")
    return package.removeprefix("_global_.") or name.replace("/", ".")


def overlaid(own: Any, run: Any) -> Any:
    """The run's values, with those of `own` where the run, being older, has none."""
    if not isinstance(own, Mapping) or not isinstance(run, Mapping) or own.get("_target_") != run.get("_target_"):
        return run
    return {**own, **{key: overlaid(own.get(key), value) for key, value in run.items()}}


def inherited_overrides(
    run: Mapping[str, Any], own: Mapping[str, Any], is_given: Callable[[str], bool], source: str
) -> Iterator[str]:
    """Overrides that give every inherited key the run's value, where it might have another.

    Args:
        run: configuration of the run that made the checkpoint.
        own: configuration of its choices alone, interpolations not resolved: these follow other keys, which may change.
        is_given: tells whether the command line gives a key's value.
        source: the run, for messages.
    """
    for key in INHERITED:
        if key in run:
            yield from _overrides(run[key], own.get(key, ABSENT), key, is_given, source)


def _overrides(run: Any, own: Any, path: str, is_given: Callable[[str], bool], source: str) -> Iterator[str]:
    if isinstance(run, Mapping) and isinstance(own, Mapping) and run:
        other_class = own.get("_target_") != run.get("_target_")
        for key in own:
            if other_class and key not in run and not is_given(f"{path}.{key}"):
                yield f"~{path}.{key}"
        for key, value in run.items():
            here = f"{path}.{_plain_key(key, path, source)}"
            yield from _overrides(value, own.get(key, ABSENT), here, is_given, source)
    elif not is_given(path) and (_follows(own) or own != run or type(own) is not type(run)):
        yield f"++{path}={as_text(run, path, source)}"


def _follows(value: object) -> bool:
    """True of a value that holds an interpolation."""
    return "${" in str(value)


def as_text(value: Any, path: str, source: str) -> str:
    """A value in Hydra's grammar of overrides.

    Raises:
        StateError: if it holds an interpolation, which a resolved configuration has no use for, or an odd key.
    """
    if isinstance(value, Mapping):
        entries = (f"{_plain_key(k, path, source)}:{as_text(v, f'{path}.{k}', source)}" for k, v in value.items())
        return f"{{{','.join(entries)}}}"
    if isinstance(value, list):
        return f"[{','.join(as_text(entry, path, source) for entry in value)}]"
    if isinstance(value, str):
        if _follows(value):
            raise StateError(source, f"{path}: must be a resolved value, got {value!r}", "give a run folder as it was")
        return quoted(value)
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _plain_key(key: object, path: str, source: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*", str(key)):
        raise StateError(source, f"{path}: must have plain words as keys, got {str(key)!r}")
    return str(key)


def differences(
    run: Mapping[str, Any], choices: Mapping[str, str], config: Mapping[str, Any], chosen: Mapping[str, str]
) -> list[str]:
    """Differences between a run and another that starts from it, as lines like `network.activation: relu → tanh`.

    Args:
        run: configuration of the run that made the checkpoint.
        choices: its option of each group.
        config: the other's configuration.
        chosen: its choices.
    """
    lines = [
        f"{group}: {choices.get(group)} → {chosen[group]}"
        for group in INHERITED_GROUPS
        if _other(group, choices, chosen)
    ]
    before, now = (flat({key: whole[key] for key in COMPARED if key in whole}) for whole in (run, config))
    for key in dict.fromkeys([*before, *now]):
        # Another option has other keys, and another class: reported above
        if _other(key.partition(".")[0], choices, chosen) and (
            key.endswith("_target_") or not {key} <= {*before} & {*now}
        ):
            continue
        if before.get(key, ABSENT) != now.get(key, ABSENT):
            lines.append(f"{key}: {_shown(before, key)} → {_shown(now, key)}")
    return lines


def _other(group: str, choices: Mapping[str, str], chosen: Mapping[str, str]) -> bool:
    return group in INHERITED_GROUPS and choices.get(group) != chosen.get(group)


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "(not there)"
    value = values[key]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
