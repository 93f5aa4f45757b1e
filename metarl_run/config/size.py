"""Estimate of a run's memory from its configuration: lower bounds of what is allocated."""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl_run.config.capability import Chosen
from metarl_run.config.plan import flat
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS
from metarl_run.kinds import Widths

NUMBER = 4  # bytes, in single precision
ROW = 300  # bytes at least, of a row of an evaluation as long as it is in memory
ENVS_AT_ONCE = 1000
"""As in `metarl_run.evaluation`, which needs torch."""

LEARNS = "metarl_run.algo.base.MetaLearner"
LARGEST_DEVICE = 2**40
"""Bytes, more than any GPU has: its own memory is known to torch alone."""


@dataclass(frozen=True)
class Part:
    """Bytes of one part of a run, the product of some keys' values.

    Attributes:
        what: the part.
        keys: dotted key → factor.
        size: bytes of each element.
    """

    what: str
    keys: Mapping[str, int]
    size: int

    @property
    def bytes(self) -> int:
        return math.prod(self.keys.values()) * self.size


def check_sizes(config: Mapping[str, Any], components: Sequence[Chosen]) -> None:
    """Raise ConfigError, naming keys and bytes, if a part of the run alone exceeds the machine's memory.

    Args:
        config: plain containers, validated.
        components: all of the configuration.
    """
    available = memory() if config["device"] == "cpu" else LARGEST_DEVICE
    largest = max(parts(config, {one.path: one for one in components}), key=lambda part: part.bytes)
    if available is None or largest.bytes <= available:
        return
    keys = sorted(largest.keys, key=lambda key: -largest.keys[key])
    product = " · ".join(f"{key}={_value(config, key)}" for key in keys)
    reason = f"{largest.what} take at least {_shown(largest.bytes)}, this machine has {_shown(available)}: {product}"
    raise ConfigError(keys[0], reason, f"smaller {' or '.join(keys[:2])}")


def parts(config: Mapping[str, Any], components: Mapping[str, Chosen]) -> Iterator[Part]:
    """The largest parts of a run that are allocated for certain."""
    env, algo = components["env"], components["algo"]
    learns = LEARNS in algo.signature.bases and config["meta_iterations"] > 0
    task, observed = _product(env, "task"), {} if config["compile"] is True else _product(env, "observation")
    step = NUMBER if config["compile"] is True else NUMBER * _constant(env, "observation")
    horizon = {"env.horizon": env.arguments["horizon"]} if env.arguments.get("horizon") else {}
    if learns:
        tasks = {"meta_batch_size": config["meta_batch_size"]}
        episodes = {"episodes_per_task": config["episodes_per_task"]}
        if isinstance(algo.arguments.get("episodes"), int):
            episodes["algo.episodes"] = algo.arguments["episodes"]
        yield Part("the tasks of meta-training", tasks | task, NUMBER)
        yield Part("the rollouts of meta-training", tasks | episodes | horizon | observed, step)
    for key in ("meta_test", *(["meta_validation"] if learns and config["validate_every"] else [])):
        given = config[key]
        tasks = {f"{key}.num_tasks": given["num_tasks"]}
        envs = {f"{key}.episodes_per_task": given["episodes_per_task"]}
        envs |= {f"{key}.num_tasks": min(given["num_tasks"], max(1, ENVS_AT_ONCE // given["episodes_per_task"]))}
        steps = {f"{key}.adaptation_steps": given["adaptation_steps"] + 1}
        yield Part(f"the tasks of {key}", tasks | task, NUMBER)
        yield Part(f"the rollouts of {key}", envs | steps | horizon | observed, step)
        yield Part(f"the rows of {key}", tasks | steps, ROW)
    inputs = _constant(env, "observation") * math.prod(_product(env, "observation").values())
    for one in components.values():
        yield from _parameters(one, inputs if one.path == "network" else 1, 2 if learns else 1)


def _product(one: Chosen, what: str) -> dict[str, int]:
    """Key → factor of the numbers per task or observation; see `metarl_run.config.static.declaration`."""
    factors: dict[str, int] = {}
    for argument in one.signature.declared.sizes.get(what, ()):
        value = one.arguments.get(argument) if isinstance(argument, str) else None
        if isinstance(value, int):
            key = f"{one.path}.{argument}"
            factors[key] = factors.get(key, 1) * value
    return factors


def _constant(one: Chosen, what: str) -> int:
    """The product of the numbers among them."""
    return math.prod(factor for factor in one.signature.declared.sizes.get(what, ()) if isinstance(factor, int))


def _parameters(one: Chosen, inputs: int, copies: int) -> Iterator[Part]:
    """Weights between hidden layers, and their gradients."""
    if weights := _product(one, "parameters"):
        yield Part("the parameters and their gradients", weights, NUMBER * copies)
    for argument, parameter in one.signature.parameters.items():
        widths = one.arguments.get(argument)
        if parameter.kind == Widths and widths:
            layers = zip([inputs, *widths], [*widths, 1], strict=True)
            count = sum((first + 1) * second for first, second in layers)
            yield Part("the parameters and their gradients", {f"{one.path}.{argument}": count}, NUMBER * copies)


def largest_keys(config: Mapping[str, Any]) -> list[str]:
    """The keys of components and of the numbers of tasks and episodes with the largest integers, largest first."""
    values = flat({key: config[key] for key in (*GROUPS, "meta_batch_size", "episodes_per_task", "meta_test")})
    sizes = {key: max((x for x in _entries(value) if type(x) is int), default=0) for key, value in values.items()}
    return sorted((key for key in sizes if sizes[key] > 1), key=lambda key: -sizes[key])[:3]


def _entries(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def memory() -> int | None:
    """Bytes of this machine's memory, with its swap space; None if that cannot be known."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        swap = re.search(r"SwapTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="utf-8"))
        return total + (1024 * int(swap[1]) if swap else 0)
    except (OSError, ValueError, AttributeError):  # no such file or name, as on other systems
        return None


def _value(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value[name]
    return value


def _shown(number: int) -> str:
    """Bytes with a unit."""
    power = min((len(str(number)) - 1) // 3, 8)
    return f"{number / 1000**power:.3g} {['bytes', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'][power]}"
