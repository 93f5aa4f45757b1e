"""Secrets stay out of configurations, which are stored, printed and sent to servers. Their values are never echoed.

A secret is known by its name, `api_key` or `WANDB_API_KEY`, or as the value of an environment variable of such a name.
"""

import itertools
import os
import re
from collections.abc import Iterator, Mapping, Sequence

from metarl_run.errors import ConfigError

WORDS = {"password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "apikey"}
HINT = "keep secrets in the environment or in ~/.netrc, where `wandb login` puts its key"
SHORTEST = 6  # characters of a value that is looked for: shorter ones occur by chance
HIDDEN = "<hidden>"


def is_secret(name: str) -> bool:
    """True of a name that looks like a secret's."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    pairs = set(itertools.pairwise(words))
    return bool(WORDS & set(words)) or bool(pairs & {("api", "key"), ("private", "key"), ("access", "key")})


def refuse_on_command_line(overrides: Sequence[str]) -> None:
    """Raise ConfigError if an override sets, or looks up, something that looks like a secret."""
    for override in overrides:
        key = override.partition("=")[0]
        names = [key, *re.findall(r"([\w.]+)['\"]?\s*:", override), *_variables(override)]
        if key.lstrip("+~").startswith("hydra.job.env_"):
            names += re.findall(r"\w+", override)
        for name in names:
            if is_secret(name.rpartition(".")[2]):
                raise ConfigError(masked(name.lstrip("+~")), "looks like a secret; its value was not used", HINT)


def refuse_in_config(config: object, path: str = "") -> None:
    """The same for a composed configuration, its interpolations resolved or not."""
    for here, key, value in _walk(config, path):
        if is_secret(key):
            raise ConfigError(here, "looks like a secret; its value was not used", HINT)
        if isinstance(value, str):
            for name in _variables(value):
                if is_secret(name):
                    raise ConfigError(here, f"reads {name}, which looks like a secret", HINT)
            if held := _secret_in(value):
                raise ConfigError(here, f"holds the value of {held}, which looks like a secret", HINT)


def refuse_copied(hydra: Mapping[str, object]) -> None:
    """The same for the environment variables that Hydra's own keys set or copy, which it stores."""
    job = hydra.get("job")
    for key in ("env_set", "env_copy"):
        names = job.get(key) if isinstance(job, Mapping) else None
        for name in names if isinstance(names, Mapping | list) else ():
            if is_secret(str(name)):
                raise ConfigError(f"hydra.job.{key}", f"names {name}, which looks like a secret", HINT)


def redacted(argument: str) -> str:
    """A command-line argument as it may be written down."""
    key, equals, _ = argument.partition("=")
    try:
        refuse_on_command_line([argument])
    except ConfigError:
        return masked(f"{key}{equals}{HIDDEN}")
    return masked(argument)


def masked(text: str) -> str:
    """A text without the values of secret environment variables."""
    for value in _secrets():
        text = text.replace(value, HIDDEN)
    return text


def _secret_in(text: str) -> str | None:
    """The secret environment variable whose value is in `text`, if there is one."""
    return next((name for value, name in _secrets().items() if value in text), None)


def _secrets() -> dict[str, str]:
    """Value → name of the environment variables that look like secrets."""
    return {value: name for name, value in os.environ.items() if len(value) >= SHORTEST and is_secret(name)}


def _variables(text: str) -> list[str]:
    """Names of the environment variables that interpolations in `text` read."""
    return re.findall(r"oc\.env:\s*['\"\\]*([\w.-]+)", text)


def _walk(node: object, path: str) -> Iterator[tuple[str, str, object]]:
    """Dotted path, key and value of every entry, at any depth."""
    if isinstance(node, Mapping):
        entries = [(str(key), f"{path}.{key}" if path else str(key), value) for key, value in node.items()]
    elif isinstance(node, list):
        entries = [("", f"{path}[{place}]", value) for place, value in enumerate(node)]
    else:
        return
    for key, here, value in entries:
        yield here, key, value
        yield from _walk(value, here)
