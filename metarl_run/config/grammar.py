"""Values in Hydra's grammar of overrides."""

import re
import shlex


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
