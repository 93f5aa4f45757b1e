"""JSON records as text that people can read and diff: a line per field, arrays of scalars on one line."""

import json
from collections.abc import Callable
from typing import Any

LINE_LENGTH = 120
"""An object among others in an array may take one line of at most so many characters."""


def json_text(record: Any, *, ensure_ascii: bool = True) -> str:
    """Text of a JSON record: objects indented, arrays of scalars on one line, short objects in an array a line each.

    The same record makes the same text, and `json.loads` reads it back, every float exactly.

    Args:
        record: whatever `json.dumps` takes.
        ensure_ascii: write other characters as escapes: for readers that assume no encoding, and for strings that have
            none, such as file names of undecodable bytes.

    Raises:
        ValueError: if a number is NaN or infinite.
    """
    plain = json.loads(json.dumps(record, allow_nan=False))  # keys are strings and arrays lists from here on
    return _text(plain, "", json.JSONEncoder(ensure_ascii=ensure_ascii).encode) + "\n"


def _text(value: Any, indent: str, on_one_line: Callable[[Any], str]) -> str:
    """Text of `value`, of which all lines but the first start with `indent`."""
    deeper = indent + " "
    if isinstance(value, dict) and value:
        entries = [f"{on_one_line(key)}: {_text(entry, deeper, on_one_line)}" for key, entry in value.items()]
        return _block("{", entries, "}", indent)
    if isinstance(value, list) and not _all_scalar(value):
        entries = [_entry(entry, deeper, on_one_line) for entry in value]
        return _block("[", entries, "]", indent)
    return on_one_line(value)


def _entry(value: Any, indent: str, on_one_line: Callable[[Any], str]) -> str:
    """Text of an entry of an array, which starts a line of its own."""
    if isinstance(value, dict) and _all_scalar(value.values()):
        line = on_one_line(value)
        if len(f"{indent}{line},") <= LINE_LENGTH:
            return line
    return _text(value, indent, on_one_line)


def _block(opening: str, entries: list[str], closing: str, indent: str) -> str:
    lines = f",\n{indent} ".join(entries)
    return f"{opening}\n{indent} {lines}\n{indent}{closing}"


def _all_scalar(values: Any) -> bool:
    return not any(isinstance(value, dict | list) for value in values)
