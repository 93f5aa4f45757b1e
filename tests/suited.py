"""Choices in which every component finds what it requires: found in the text of `conf/`, or by composing.

Composing a run takes a tenth of a second, what its files say of its components a hundredth of that. Tests are
therefore chosen by `suits` and `servable`, and compose what they need when they run; `test_suited` holds the one
against the other.
"""

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from metarl_run.config.capability import Chosen, check_capabilities
from metarl_run.config.compose import compose_points
from metarl_run.config.point import Point
from metarl_run.config.static.signature import Signature, signature
from metarl_run.errors import ConfigError
from metarl_run.folders import CONFIG_DIR, GROUPS

COMPONENTS = tuple(group for group in GROUPS if group != "logger")

Choices = Mapping[str, str]

DATA = ("collect=histories", "algo@collect.algo=random", "collect.tasks=2", "collect.episodes=100")
"""What an algorithm that learns from histories needs besides other options: a few, of a hundred steps or more."""

# --- By composing ---


@functools.cache
def composed(*arguments: str) -> Point:
    """The one run of a command line; shared by all tests, hence not to be changed."""
    return compose_points(arguments).points[0]


@functools.cache
def suited(*arguments: str) -> tuple[Point, tuple[str, ...]]:
    """The run, and its arguments: those given and, as long as they are refused, what the hint proposes.

    Raises:
        ConfigError: if the arguments are refused without a proposal, or with one for a group that is chosen already.
    """
    if any(learns_from_data(*given.split("=")) for given in arguments if given.startswith("algo=")):
        arguments = (*arguments, *DATA)
    for _ in GROUPS:
        try:
            return composed(*arguments), arguments
        except ConfigError as error:
            proposal = proposed(error)
            if proposal is None or any(given.startswith(f"{proposal[0]}=") for given in arguments):
                raise
            arguments = (*arguments, "=".join(proposal))
    raise AssertionError(f"refused whatever the hints say: {arguments}")


def proposed(error: ConfigError) -> tuple[str, str] | None:
    """The group and the option that the hint starts with."""
    provider = re.match(r"(\w+)=(\w+)", error.hint or "")
    return (provider[1], provider[2]) if provider else None


# --- From the text of the files ---


@dataclass(frozen=True)
class Written:
    """What the file of an option says, and the files that it is a variant or made of.

    Attributes:
        arguments: its values; interpolations are left as they stand.
        brings: options of other groups that are chosen with it, unless others are given.
    """

    arguments: Mapping[str, Any]
    brings: Choices


@functools.cache
def written(group: str, option: str) -> Written:
    """The file of an option, its own values over those that its `defaults` name."""
    own = yaml.safe_load((CONFIG_DIR / group / f"{option}.yaml").read_text(encoding="utf-8")) or {}
    arguments: dict[str, Any] = {}
    brings: dict[str, str] = {}
    for default in own.pop("defaults", []):
        if isinstance(default, dict):
            ((key, value),) = default.items()
            name, _, package = key.removeprefix("override ").partition("@")
            if name.startswith("/") and package.removeprefix("_global_.") in ("", "_global_", name[1:]):
                brings[name[1:]] = value
            elif name.startswith("/"):  # an option of a group as an argument
                arguments[package] = written(name[1:], value).arguments
            else:
                arguments[package or name] = written(f"{group}/{name}", value).arguments
        elif default != "_self_":
            variant = written(group, default)
            arguments, brings = _laid_over(arguments, variant.arguments), {**brings, **variant.brings}
    return Written(_laid_over(arguments, own), brings)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    def both(key: str, value: Any) -> Any:
        under = below.get(key)
        return _laid_over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value

    return {**below, **{key: both(key, value) for key, value in above.items()}}


def options(group: str) -> list[str]:
    """The options of a group by name, `maml` for `conf/algo/maml.yaml`."""
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def known(group: str, option: str) -> Signature:
    """What is known of the class of an option."""
    found = signature(written(group, option).arguments["_target_"], ("metarl_run",))
    assert found is not None, f"{group}={option} names no class"
    return found


def learns_from_data(group: str, option: str) -> bool:
    """Is it an algorithm that learns from recorded histories?"""
    return group == "algo" and "dataset" in known(group, option).parameters


@functools.cache
def provided(group: str, option: str) -> frozenset[str]:
    """The words that an option provides."""
    return frozenset(known(group, option).declared.provided(written(group, option).arguments))


@functools.cache
def _usual() -> Choices:
    """The options chosen by a command line that chooses none."""
    defaults = yaml.safe_load((CONFIG_DIR / "train.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen = {key: value for default in defaults if isinstance(default, dict) for key, value in default.items()}
    return {group: chosen[group] for group in COMPONENTS}


def _whole(given: Choices) -> Choices:
    """An option for each group: those given, those that come with these, and the usual ones."""
    chosen = {**_usual(), **given}
    brought = {group: option for one in chosen.items() for group, option in written(*one).brings.items()}
    return {**chosen, **brought, **given}


def _components(path: str, name: str, arguments: Mapping[str, Any]) -> Iterator[Chosen]:
    """A component and those nested in it."""
    found = signature(arguments["_target_"], ("metarl_run",))
    assert found is not None, f"{path} names no class"
    yield Chosen(path, name, found, arguments)
    for key, value in arguments.items():
        if isinstance(value, Mapping) and "_target_" in value:
            yield from _components(f"{path}.{key}", value["_target_"].rpartition(".")[2], value)


def _check(given: Choices) -> None:
    """Raise ConfigError unless the components suit each other."""
    choices = _whole(given)
    chosen: list[Chosen] = []
    for group in COMPONENTS:
        chosen += _components(group, choices[group], written(group, choices[group]).arguments)
    check_capabilities(chosen, choices, _offers)


@functools.cache
def _offers() -> Mapping[str, frozenset[str]]:
    named = [(group, option) for group in COMPONENTS for option in options(group)]
    named.sort(key=lambda one: "dataset" in known(*one).parameters)  # those that need data come last
    return {f"{group}={option}": provided(group, option) for group, option in named}


def suits(**given: str) -> bool:
    """Do these options, with those that come with them, suit each other? `suits(env="bandit", algo="ucb1")`."""
    try:
        _check(given)
    except ConfigError:
        return False
    return True


def completed(**given: str) -> Choices:
    """The options given and, as long as they do not suit each other, those that the hint proposes, as in `suited`."""
    for _ in GROUPS:
        try:
            _check(given)
            return given
        except ConfigError as error:
            proposal = proposed(error)
            if proposal is None or proposal[0] in given:
                raise
            given[proposal[0]] = proposal[1]
    raise AssertionError(f"refused whatever the hints say: {given}")


def arguments_of(group: str, option: str) -> tuple[str, ...]:
    """The arguments that `suited` finds for an option, found without composing."""
    chosen = tuple(f"{key}={value}" for key, value in completed(**{group: option}).items())
    return chosen + DATA if learns_from_data(group, option) else chosen
