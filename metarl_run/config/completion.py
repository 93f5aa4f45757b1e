"""Tab completion: `metarl-run -sc install=bash` prints what a shell evaluates, `-sc query=bash` what may stand next.

Hydra's own answers after half a second, knows no word of a choice and nothing behind a comma.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from metarl_run.config.described import (
    GROUPS,
    Key,
    Option,
    chosen,
    folders_of,
    option,
    options,
    run_keys,
    search_keys,
    table_keys,
)
from metarl_run.errors import ConfigError

SCRIPTS = {
    "bash": """\
_metarl_run() {
    local IFS=$'\\n' line="${COMP_LINE:0:COMP_POINT}"
    COMPREPLY=($(COMP_LINE="$line" "${COMP_WORDS[0]}" -sc query=bash 2>/dev/null))
    local word="${line##* }"
    COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*[$COMP_WORDBREAKS]}"}"}") # readline keeps up to a break
}
complete -o nospace -F _metarl_run metarl-run
""",
    "zsh": """\
_metarl_run() {
    local -a found
    found=("${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" "$words[1]" -sc query=zsh 2>/dev/null)}")
    [[ -n "$found" ]] && compadd -S '' -- "${found[@]}"
}
compdef _metarl_run metarl-run
""",
    "fish": """\
function __metarl_run
    set -lx COMP_LINE (commandline -cp)
    metarl-run -sc query=fish 2>/dev/null
end
complete -c metarl-run -f -a '(__metarl_run)'
""",
}

REMOVALS = {
    "bash": "complete -r metarl-run; unset -f _metarl_run",
    "zsh": "compdef -d metarl-run; unfunction _metarl_run",
    "fish": "complete -e -c metarl-run; functions -e __metarl_run",
}

COMMANDS = ("collect", "list", "report", "watch")
FLAGS = ("--multirun", "--config-dir=", "--config-name=", "--cfg", "--resolve", "--hydra-help", "--version", "--help")
FOLDERS = (
    "resume",
    "checkpoint",
    "output_root",
    "table.output",
    "table.checkpoints",
    "hydra.run.dir",
    "hydra.sweep.dir",
)
"""Keys that hold a folder."""

PLUGINS = {
    "hydra/launcher": {
        "basic": "hydra",
        "joblib": "hydra_joblib_launcher",
        "submitit_slurm": "hydra_submitit_launcher",
    },
    "hydra/sweeper": {"basic": "hydra", "search": "optuna", "optuna": "hydra_optuna_sweeper"},
}
"""Options of Hydra's own groups, with the package that brings each."""

PLAIN = re.compile(r"[\w.+@%-]+")
"""Names of folders that need no quotation marks, neither the shell's nor Hydra's."""


def answer(argv: Sequence[str], line: str) -> str:
    """What the command prints for its flag `-sc`.

    Args:
        argv: its arguments.
        line: command line to complete, up to the cursor.

    Raises:
        ConfigError: if it is asked for anything else than a known shell.
    """
    asked = next((text for text in argv if re.match("(install|uninstall|query)=", text)), "")
    action, _, shell = asked.partition("=")
    if shell not in SCRIPTS:
        raise ConfigError(
            "-sc", f"must be install=, uninstall= or query= with one of {', '.join(SCRIPTS)}, got {' '.join(argv)!r}"
        )
    if action == "query":
        return "".join(f"{word}\n" for word in completions(line))
    return SCRIPTS[shell] if action == "install" else f"{REMOVALS[shell]}\n"


def completions(line: str) -> list[str]:
    """Words that the last one of `line` may become; each ends where there is a choice to be made again."""
    *before, word = re.split(r"(?<!\\)\s+", line)
    words = before[1:]
    if before[-1:] in (["--config-dir"], ["-cd"]):
        return sorted({*_folders(word)})
    return sorted({found for found in _candidates(word, words) if found.startswith(word)} - {word})


def _candidates(word: str, words: Sequence[str]) -> Iterable[str]:
    if words and words[0] == "collect":
        return _candidates(word, words[1:])
    if words and words[0] in COMMANDS:
        return _folders(word)
    if word.startswith("--config-dir="):
        return [f"--config-dir={found}" for found in _folders(word.partition("=")[2])]
    if word.startswith("-"):
        return FLAGS
    folders = folders_of(words)
    sign = word[: len(word) - len(word.lstrip("+~"))]
    name, equals, value = word[len(sign) :].partition("=")
    if not equals:
        return [sign + found for found in _next(name, words, folders)] + ([] if words or sign else [*COMMANDS])
    begun = value[: max(value.rfind("["), value.rfind(",")) + 1]
    start = f"{sign}{name}={begun}"
    if name in FOLDERS:
        return [start + found for found in _folders(value[len(begun) :])]
    given = {*re.split(r"[\[,]", begun)}
    return [start + found for found in _values(name, words, folders) if found not in given]


def _next(name: str, words: Sequence[str], folders: Sequence[Path]) -> Iterator[str]:
    """Groups and keys up to their next dot."""
    yield from (f"{group}=" for group in (*GROUPS, *PLUGINS))
    depth = name.count(".")
    for path, key in _keys(name, words, folders).items():
        parts = path.split(".")
        if len(parts) > depth + 1:
            yield ".".join(parts[: depth + 1]) + "."
        elif key.value:
            yield f"{path}="


def _keys(name: str, words: Sequence[str], folders: Sequence[Path]) -> Mapping[str, Key]:
    """The keys of the option that `name` begins with, or those of a run with the groups' names."""
    group, dot, _ = name.partition(".")
    if dot and group in GROUPS:
        of = _option(group, words, folders)
        return {path: key for path, key in of.keys.items() if not path.endswith("_target_")} if of else {}
    groups = {f"{group}.x": Key(group, "", "") for group in GROUPS if "/" not in group and group != "experiment"}
    search = {} if "hydra/sweeper=search" not in words else search_keys()
    return {**run_keys(), **(table_keys() if dot else {"table.x": Key("table", "", "")}), **groups, **search}


def _option(group: str, words: Sequence[str], folders: Sequence[Path]) -> Option | None:
    name = chosen(words, folders).get(group)
    return option(group, name, folders) if name is not None and name in options(group, folders) else None


def _values(name: str, words: Sequence[str], folders: Sequence[Path]) -> Iterable[str]:
    """What a group or key may be: options, words of a choice, or else the default."""
    if name in GROUPS:
        return options(name, folders)
    if name in PLUGINS:
        return [
            option
            for option, package in PLUGINS[name].items()
            if find_spec(package if package in ("hydra", "optuna") else f"hydra_plugins.{package}")
        ]
    if name == "budget":
        found = _option("experiment", words, folders)
        return [path.split(".")[1] for path in found.keys if re.fullmatch(r"budgets\.\w+", path)] if found else ["null"]
    key = _keys(name, words, folders).get(name)
    if key is None:
        return []
    plain = key.value and not re.search(r"[${\s]", key.value)
    return key.words or ([key.value] if plain else [])


def _folders(begun: str) -> Iterator[str]:
    """Folders that begin so, and before anything is written the runs under `outputs`, the default output_root."""
    if not begun:
        runs = [path.parent for path in Path("outputs").glob("*/*/run.json")]
        yield from (str(run) for run in runs if all(PLAIN.fullmatch(part) for part in run.parts))
    parent, slash, _ = begun.rpartition("/")
    try:
        entries = [entry for entry in os.scandir(os.path.expanduser(parent + slash) or ".") if entry.is_dir()]
    except OSError:
        return
    for entry in entries:
        if PLAIN.fullmatch(entry.name) and not (entry.name.startswith(".") and not begun.rpartition("/")[2]):
            yield f"{parent}{slash}{entry.name}{'' if Path(entry, 'run.json').is_file() else '/'}"
