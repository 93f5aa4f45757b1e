"""Keys and values in Hydra's grammar of overrides."""

import os
import re
import shlex
from collections.abc import Collection


def quoted(text: str) -> str:
    """A string as a quoted value: backslashes count only before a quotation mark, or what looks like a reference."""
    plain = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), plain)
    return f'"{escaped}"'


NO_WORD = re.compile(r"[+-]?(\.?\d.*|inf|nan)|true|false|null", re.IGNORECASE)
"""Texts that the grammar takes for something else than a string."""


def argument(key: str, text: str) -> str:
    """`key=text` as it can be pasted into a shell, quoted for the shell and for Hydra where either needs it.

    A path that begins with `~` is not meant to be in the home folder.
    """
    text = f"./{text}" if text.startswith("~") else text
    plain = re.fullmatch(r"[\w./@%+-]+", text, re.ASCII) is not None and not NO_WORD.fullmatch(text)
    return shlex.quote(f"{key}={text if plain else quoted(text)}")


def key_of(override: str) -> str:
    """Key of an override, whether it changes, adds or deletes."""
    return override.partition("=")[0].lstrip("+~")


def at_home(text: str, keys: Collection[str]) -> str:
    """An argument in which `~` stands for the home folder: `key=~/x` of one of the keys, or a flag `--config-dir=~/x`.

    No shell expands it there, and Hydra's grammar cannot read it.
    """
    key, _, value = text.partition("=")
    if not value.startswith("~") or not (key.lstrip("+") in keys or key in ("--config-dir", "-cd")):
        return text
    paths = [os.path.expanduser(path) for path in value.split(",")]
    return f"{key}={paths[0]}" if key.startswith("-") else f"{key}={','.join(map(quoted, paths))}"
