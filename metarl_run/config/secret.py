"""Secrets stay out of configurations, which are stored, printed and sent to servers. Their values are never echoed."""

import itertools
import re
from collections.abc import Sequence

from metarl_run.errors import ConfigError

WORDS = {"password", "passwd", "passphrase", "secret", "token", "credential", "credentials", "apikey"}
HINT = "keep secrets in the environment or in ~/.netrc, where `wandb login` puts its key"


def is_secret(name: str) -> bool:
    """True of a name that looks like a secret's."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    pairs = set(itertools.pairwise(words))
    return bool(WORDS & set(words)) or bool(pairs & {("api", "key"), ("private", "key"), ("access", "key")})


def refuse_on_command_line(overrides: Sequence[str]) -> None:
    """Raise ConfigError if an override sets, or looks up, something that looks like a secret."""
    for override in overrides:
        key = override.partition("=")[0]
        names = [key, *re.findall(r"([\w.]+)['\"]?\s*:", override), *re.findall(r"oc\.env:\s*(\w+)", override)]
        for name in names:
            if is_secret(name.rpartition(".")[2]):
                raise ConfigError(name.lstrip("+~"), "looks like a secret; its value was not used", HINT)


def refuse_in_config(config: object, path: str = "") -> None:
    """The same for a composed configuration whose interpolations are not resolved yet."""
    if isinstance(config, dict):
        for key, value in config.items():
            here = f"{path}.{key}" if path else str(key)
            if is_secret(str(key)):
                raise ConfigError(here, "looks like a secret; its value was not used", HINT)
            refuse_in_config(value, here)
    elif isinstance(config, list):
        for place, value in enumerate(config):
            refuse_in_config(value, f"{path}[{place}]")
    elif isinstance(config, str):
        for name in re.findall(r"oc\.env:\s*(\w+)", config):
            if is_secret(name):
                raise ConfigError(path, f"reads {name}, which looks like a secret", HINT)


def redacted(argument: str) -> str:
    """A command-line argument as it may be written down."""
    key, equals, _ = argument.partition("=")
    try:
        refuse_on_command_line([argument])
    except ConfigError:
        return f"{key}{equals}<hidden>"
    return argument
