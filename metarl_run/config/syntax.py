"""Check of YAML files, refused with file and line before anything is built from them.

Aliases are counted, never expanded: a file of ten lines can stand for billions of entries.
"""

from pathlib import Path
from typing import Any

import yaml

from metarl_run.errors import ConfigError, StateError
from metarl_run.files import read_bytes, require_shallow

LARGEST_FILE = 200_000  # bytes; those of the project have 3000
LARGEST_TREE = 20_000  # entries after expansion
STANDARD_TAG = "tag:yaml.org,2002:"


def check_yaml(path: Path) -> None:
    """Raise ConfigError, naming file and line, unless `path` holds a plain YAML mapping of moderate size."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    root = _checked(path, raw)
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:1", "must be a mapping of keys to values")


def read_yaml(path: Path) -> Any:
    """The record in a YAML file of a run folder.

    Raises:
        StateError: if it is not plain YAML of moderate size, see `check_yaml`, or no plain file.
        OSError: if it cannot be read.
    """
    try:
        root = _checked(path, read_bytes(path, largest=LARGEST_FILE))
        record = None if root is None else yaml.SafeLoader("").construct_document(root)
        require_shallow(record)
    except (ConfigError, ValueError, RecursionError, yaml.YAMLError) as error:
        where, reason = (error.where, error.reason) if isinstance(error, ConfigError) else (str(path), str(error))
        raise StateError(where, reason[:300]) from error
    return record


def _checked(path: Path, raw: bytes) -> yaml.Node | None:
    """The root of a file's content; None if it is empty."""
    if len(raw) > LARGEST_FILE:
        raise ConfigError(f"{path}:1", f"must have at most {LARGEST_FILE} bytes, got {len(raw)}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}", f"must be UTF-8, got byte 0x{raw[error.start]:02x}") from error
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}", _told(error)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}", f"has a character that YAML does not allow: {error.reason}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}:1", "is nested too deeply") from error
    if root is not None:
        _size(root, path, {})
    return root


def _told(error: yaml.MarkedYAMLError) -> str:
    problem = (error.problem or "is not YAML").replace("\n", " ")
    return "must be indented with spaces, got a tab" if r"'\t'" in problem else f"is not YAML: {problem}"


def _size(node: yaml.Node, path: Path, sizes: dict[int, int]) -> int:
    """Entries under `node` with aliases expanded; keys and tags are checked on the way."""
    where = f"{path}:{node.start_mark.line + 1}"
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise ConfigError(where, "contains itself through an alias")
        return sizes[id(node)]
    if not node.tag.startswith(STANDARD_TAG) or node.tag.startswith(f"{STANDARD_TAG}python"):
        raise ConfigError(where, f"must be plain YAML, got the tag {node.tag.removeprefix(STANDARD_TAG)}")
    sizes[id(node)] = -1  # open: meeting it again from inside is a cycle
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node, path)
        children = [child for pair in node.value for child in pair]
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else []
    total = 1 + sum(_size(child, path, sizes) for child in children)
    if total > LARGEST_TREE:
        raise ConfigError(where, f"stands for more than {LARGEST_TREE} entries once its aliases are expanded")
    sizes[id(node)] = total
    return total


def _refuse_duplicates(node: yaml.MappingNode, path: Path) -> None:
    lines: dict[object, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigError(f"{path}:{line}", "must have plain words as keys")
        if key.value in lines and key.value != "<<":
            raise ConfigError(f"{path}:{line}", f"has the key {key.value!r} twice, first in line {lines[key.value]}")
        lines[key.value] = line
