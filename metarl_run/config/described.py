"""Options and keys as the files of a configuration folder describe them: defaults, kinds and comments.

The files are read line by line: help and completion answer within a fraction of a second, without Hydra or a YAML
parser. What a run is composed from is `metarl_run.config.compose`'s.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from metarl_run.folders import CONFIG_DIR
from metarl_run.kinds import AnyOrCell, Between, Cells, DistributionsByName, Interval, Keyed, ListOf, OrAuto, TasksOf

GROUPS = ("algo", "algo/meta_optimizer", "env", "learner", "network", "logger", "collect", "experiment")
"""In the order in which they are shown."""

SEARCH = "hydra.sweeper"
"""Where the keys of a search stand."""

LINE = re.compile(r"( *)([\w/@]+):(?: +(.*?))?(?: *(?<![^ ])# (.*))?")
DEFAULT = re.compile(r"(override )?(/?[\w/]+)(?:@([\w.]+))?(?:: *(\S+))?")


@dataclass(frozen=True)
class Key:
    """One key of an option or of a run.

    Attributes:
        path: dotted, from the top of the configuration.
        value: its default as the file has it; empty for a mapping.
        comment: unit, range or source.
        kind: the values that it accepts, as `metarl_run.kinds` has them; None if any.
    """

    path: str
    value: str
    comment: str
    kind: Any = None

    @property
    def is_of_interest(self) -> bool:
        """Neither the name of a class, nor a mapping that nothing is said of."""
        return not self.path.endswith("_target_") and bool(self.value or self.comment)

    @property
    def words(self) -> tuple[str, ...]:
        """Words among its values."""
        return words(self.kind)


@dataclass(frozen=True)
class Option:
    """One option of a group.

    Attributes:
        summary: first line of comment of its file.
        notes: the others.
        target: dotted name of its class; None of a part or an experiment.
        base: the option that it is a variant of.
        keys: by path, in the order of the files, those of the options that it is a variant of first.
        brings: group → option that it chooses, unless the command line does.
    """

    summary: str
    notes: tuple[str, ...]
    target: str | None
    base: str | None
    keys: dict[str, Key]
    brings: dict[str, str]


def folders_of(argv: Sequence[str]) -> list[Path]:
    """The configuration folder, and the one that `--config-dir` names, if any."""
    found = [CONFIG_DIR]
    for argument, following in zip(argv, [*argv[1:], ""], strict=False):
        flag, equals, value = argument.partition("=")
        if flag in ("--config-dir", "-cd") and (value if equals else following):
            found.append(Path(value if equals else following).expanduser())
    return found


def options(group: str, folders: Sequence[Path] = (CONFIG_DIR,)) -> dict[str, str]:
    """Each option of a group, by name, with the first line of comment in its file."""
    files = [path for folder in folders for path in folder.joinpath(group).glob("*.yaml") if path.is_file()]
    return {path.stem: next(iter(_comments(_lines(path))), "") for path in sorted(files, key=lambda path: path.stem)}


def option(group: str, name: str, folders: Sequence[Path] = (CONFIG_DIR,)) -> Option:
    """An option, with its keys under the group's name, or at the top if it is an experiment.

    Raises:
        FileNotFoundError: if there is none.
    """
    prefix = "" if group == "experiment" else f"{group.replace('/', '.')}."
    if name not in options(group, folders):
        raise FileNotFoundError(f"{group}={name}")
    read = _read(group, name, folders, {})
    packages = tuple({"metarl_run", (read.target or "metarl_run").partition(".")[0]})
    return replace(read, keys={prefix + path: _kinded(key, prefix, read, packages) for path, key in read.keys.items()})


@functools.cache
def run_keys() -> dict[str, Key]:
    """The keys of a run, those of `conf/train.yaml`."""
    from metarl_run.config.settings import Settings

    lines = _lines(CONFIG_DIR / "train.yaml")
    keys = _keys(lines[: lines.index("hydra:")])
    return {path: replace(key, kind=_declared(Settings, path.split("."))) for path, key in keys.items()}


@functools.cache
def table_keys() -> dict[str, Key]:
    """The keys of a paper's table, those of `conf/table.yaml`."""
    keys = _keys(_lines(CONFIG_DIR / "table.yaml"))
    return {f"table.{path}": replace(key, path=f"table.{path}") for path, key in keys.items()}


@functools.cache
def search_keys() -> dict[str, Key]:
    """The keys of a search, those of `conf/hydra/sweeper/search.yaml`."""
    keys = _keys(_lines(CONFIG_DIR / "hydra" / "sweeper" / "search.yaml"))
    return {
        f"{SEARCH}.{path}": replace(key, path=f"{SEARCH}.{path}") for path, key in keys.items() if path != "_target_"
    }


def chosen(words: Sequence[str], folders: Sequence[Path] = (CONFIG_DIR,)) -> dict[str, str]:
    """The option of each group: the default, what other options bring, or what a word `group=option` says."""
    result = {group: name for group, name in _defaults(_lines(CONFIG_DIR / "train.yaml")).items() if name != "null"}
    given = dict(re.findall(r"^([\w/]+)=(\w+)", word)[0] for word in words if re.match(r"[\w/]+=\w", word))
    given = {group: name for group, name in given.items() if group in GROUPS}
    for group in ("experiment", "algo"):
        name = {**result, **given}.get(group)
        if name is not None and name in options(group, folders):
            result |= option(group, name, folders).brings
    return result | given


def tables_in(folder: Path) -> list[str]:
    """The experiments that declare a table."""
    return [path.stem for path in sorted(folder.glob("*.yaml")) if any(line[:6] == "table:" for line in _lines(path))]


# --- Kinds in words ---


def words(kind: Any) -> tuple[str, ...]:
    """The words that a value of a kind may be: of a choice, `auto`, true and false, null; those of a list's entries."""
    if get_origin(kind) is Annotated:
        checks = get_args(kind)[1:]
        listed = [word for check in checks if isinstance(check, ListOf) for word in words(check.kind)]
        return (*(["auto"] if any(isinstance(check, OrAuto) for check in checks) else []), *listed)
    if get_origin(kind) is Literal:
        return tuple(str(word).lower() if isinstance(word, bool) else str(word) for word in get_args(kind))
    if kind is bool:
        return "true", "false"
    if NoneType in get_args(kind):
        return (*(word for one in get_args(kind) if one is not NoneType for word in words(one)), "null")
    return ()


def in_words(kind: Any) -> str:
    """A kind as a phrase: `integer >= 1`, `number in [0, 1]`, `gif | mp4 | null`; empty if it accepts any value."""
    match kind:
        case Interval():
            return str(kind).removeprefix("an ").removeprefix("a ").removeprefix("finite ")
        case OrAuto():
            return f"auto | {in_words(kind.numbers)}"
        case ListOf():
            return re.sub(r"^list of (integer|number|word)\b", r"list of \1s", f"list of {in_words(kind.kind)}")
        case Between():
            return f"[low, high], each a {in_words(kind.kind)}"
        case Cells():
            return "all | list of cells"
        case TasksOf():
            return "all | integer >= 1"
        case AnyOrCell():
            return "any | integer >= 0"
        case Keyed():
            return "distribution"
        case DistributionsByName():
            return "mapping of distributions"
    if get_origin(kind) is Annotated:
        return next((text for check in get_args(kind)[1:] if (text := in_words(check))), "")
    if get_origin(kind) is Literal or kind is bool:
        return " | ".join(words(kind))
    if NoneType in get_args(kind):
        some = [text for one in get_args(kind) if one is not NoneType and (text := in_words(one))]
        return " | ".join([*some, "null"]) if some else ""
    return {int: "integer", float: "number", str: "word"}.get(kind, "")


# --- The files ---


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _comments(lines: Sequence[str]) -> Iterator[str]:
    """The comments at the head of a file."""
    for line in lines:
        if not line.startswith("#"):
            return
        if "@package" not in line:
            yield line.lstrip("# ")


def _file(group: str, name: str, folders: Sequence[Path]) -> list[str]:
    """The lines of an option's file, in the last of the folders that have one; none if there is no such file."""
    files = [path for folder in folders if (path := folder / group / f"{name}.yaml").is_file()]
    return _lines(files[-1]) if files else []


def _read(
    group: str, name: str, folders: Sequence[Path], swapped: Mapping[str, str], within: tuple[str, ...] = ()
) -> Option:
    """An option with keys relative to its own group.

    Args:
        swapped: slot → option, of its parts that a variant of it overrides.
        within: options that include it; a file may include itself.
    """
    here = f"{group}/{name}"
    lines = [] if here in within else _file(group, name, folders)
    summary, *notes = [*_comments(lines), ""]
    keys, parts, brings = dict[str, Key](), dict[str, Key](), dict[str, str]()
    base, entries = None, _default_entries(lines)
    swaps = {place: wanted for override, place, _, wanted in entries if override and "/" not in place} | {**swapped}
    for override, place, at, wanted in entries:
        if override and ("/" in place or group == "experiment"):
            brings[place.strip("/")] = wanted
        elif (
            not override and not wanted and place != "_self_" and "/" not in place
        ):  # a variant of another option of this group
            base, above = place, _read(group, place, folders, swaps, (*within, here))
            keys, brings = keys | above.keys, brings | above.brings
        elif not override and wanted and group != "experiment":
            home = place.strip("/") if place.startswith("/") else f"{group}/{place}"
            lines_of_part = _file(home, swaps.get(place, wanted), folders)
            if not any("@package _global_" in line for line in lines_of_part):
                inner, part = (
                    at or place.rpartition("/")[2],
                    _read(home, swaps.get(place, wanted), folders, {}, (*within, here)),
                )
                parts |= {f"{inner}.{path}": replace(key, path=f"{inner}.{path}") for path, key in part.keys.items()}
    own = _keys(lines)
    _merge(parts, {path: key for path, key in own.items() if path in parts})
    _merge(keys, {path: key for path, key in own.items() if path not in parts})
    keys |= parts
    target = keys["_target_"].value if "_target_" in keys else None
    return Option(summary, tuple(notes[:-1]), target, base, keys, brings)


def _merge(keys: dict[str, Key], more: dict[str, Key]) -> None:
    """Put in what a variant says; where it says no comment of its own, the old one stays."""
    for path, key in more.items():
        old = keys.get(path)
        keys[path] = key if old is None or key.comment else replace(key, comment=old.comment)


def _keys(lines: Sequence[str]) -> dict[str, Key]:
    """The keys in a file, those of nested mappings after the mapping's own."""
    found: dict[str, Key] = {}
    stack: list[tuple[int, str]] = []
    pending = iter(lines)
    for line in pending:
        match = LINE.fullmatch(line)
        if match is None or line.lstrip().startswith("#"):
            continue
        indent, name, value, comment = match.groups(default="")
        while value.count("[") + value.count("{") > value.count("]") + value.count("}"):
            more = next(pending, None)
            if more is None:
                break
            value = f"{value} {more.strip()}"
        stack = [(depth, key) for depth, key in stack if depth < len(indent)]
        stack.append((len(indent), name))
        path = ".".join(key for _, key in stack)
        if stack[0][1] not in ("defaults", "hydra"):
            found[path] = Key(path, value, comment)
    return found


def _default_entries(lines: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """What is below `defaults:`: whether it overrides, group or option, package, option."""
    text = "\n".join(lines)
    block = re.search(r"^defaults:(?: *\[(.*)\]| *\n((?: *- .*\n?)*))", text, re.MULTILINE)
    if block is None:
        return []
    entries = block[1].split(",") if block[1] else [line.partition("- ")[2] for line in (block[2] or "").splitlines()]
    parsed = [DEFAULT.fullmatch(entry.partition("#")[0].strip()) for entry in entries]
    return [(m[1] or "", m[2] or "", m[3] or "", m[4] or "") for m in parsed if m is not None]


def _defaults(lines: Sequence[str]) -> dict[str, str]:
    return {place: name for override, place, _, name in _default_entries(lines) if not override and name}


def _kinded(key: Key, prefix: str, of: Option, packages: tuple[str, ...]) -> Key:
    """The key with its full path, and its kind from the class of the component that it belongs to."""
    from metarl_run.config.static.signature import signature

    *above, name = key.path.split(".")
    if name == "_target_" or not prefix:
        return replace(key, path=prefix + key.path)
    for depth in range(len(above), -1, -1):
        target = of.keys.get(".".join([*above[:depth], "_target_"]))
        if target is not None:
            taken = signature(target.value, packages)
            argument, *deeper = [*above[depth:], name]
            known = taken.parameters.get(argument) if taken else None
            kind = known.kind if known and key.value else None
            return replace(key, path=prefix + key.path, kind=None if deeper and not _is_keyed(kind) else kind)
    return replace(key, path=prefix + key.path)


def _is_keyed(kind: Any) -> bool:
    return any(isinstance(check, Keyed) for check in get_args(kind)[1:])


def _declared(record: Any, path: Sequence[str]) -> Any:
    """The kind of a key of a dataclass, or of a dataclass in it."""
    for name in path:
        hints = get_type_hints(record, include_extras=True) if isinstance(record, type) else {}
        record = hints.get(name)
    return record
