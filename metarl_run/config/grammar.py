"""Keys and values in Hydra's grammar of overrides."""

import re
import shlex


def quoted(text: str) -> str:
    """A string as a quoted value: backslashes count only before a quotation mark, in this grammar."""
    escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + ('\\"' if found[2] else ""), text)
    return f'"{escaped}"'


def argument(key: str, text: str) -> str:
    """`key=text` as it can be pasted into a shell, quoted for the shell and for Hydra where either needs it."""
    plain = re.fullmatch(r"[\w./@%+-]+", text, re.ASCII) is not None and not re.search(r"^\d|^(true|false|null)$", text)
    return shlex.quote(f"{key}={text if plain else quoted(text)}")


def key_of(override: str) -> str:
    """Key of an override, whether it changes, adds or deletes."""
    return override.partition("=")[0].lstrip("+~")
