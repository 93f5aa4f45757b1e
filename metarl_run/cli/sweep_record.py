"""Record of a sweep in its folder: the command lines that it was begun by, from which it is continued.

A folder may come from elsewhere, so that nothing in the record may choose code: flags, plugins, sweepers and launchers
are given again on the command line that continues.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from metarl_run.config.grammar import key_of
from metarl_run.config.loader import parsed_flags
from metarl_run.config.search import KEYS, OPTION
from metarl_run.config.settings import keys_that_affect
from metarl_run.errors import ConfigError, StateError
from metarl_run.files import SEAL, read_json, seal
from metarl_run.system.atomic import write_atomically
from metarl_run.system.json_text import json_text

FILE = "sweep.json"
PLACE = "hydra.sweep.dir"
MAY_DIFFER = {"plugins", *keys_that_affect("nothing")} - {"sweep", "table", "budgets"}
"""Keys that change neither what the jobs are nor their results."""
MULTIRUN = ("-m", "--multirun")
RECORDED_OF_HYDRA = "hydra.sweep.subdir"
"""The one key of Hydra's that is recorded: names of folders depend on it."""


class Command(TypedDict):
    """One command line of a sweep: recorded overrides, arguments to be given again, and the number of its jobs.

    The number is None if a sweeper decides as it goes.
    """

    overrides: list[str]
    given_again: list[str]
    jobs: int | None


def remember(folder: Path, argv: Sequence[str], jobs: int | None) -> None:
    """Add a command line to the record, in place of one with the same jobs.

    Args:
        folder: of the sweep.
        argv: flags and overrides.
        jobs: their number; None if a sweeper decides as it goes.

    Raises:
        ResourceError: if the disk refuses.
        StateError: if there is a record that is damaged.
    """
    commands = commands_of(folder) if (folder / FILE).exists() else []
    overrides = [text for text in parsed_flags(argv)[1] if _may_be_recorded(text)]
    command = Command(overrides=overrides, given_again=_again(argv), jobs=jobs)
    if command not in commands:
        others = [each for each in commands if _of_results(each) != _of_results(command)]
        record: dict[str, Any] = {"format": 1, "commands": [*others, command]}
        write_atomically(folder / FILE, json_text({**record, SEAL: seal(record)}).encode())


def commands_of(folder: Path) -> list[Command]:
    """The recorded commands of the sweep in `folder`.

    Raises:
        StateError: if the record is not as this program writes it.
    """
    path = folder / FILE
    try:
        record = read_json(path)
        own = record.pop(SEAL)
        if own != seal(record):
            raise ValueError("its hash is not that of its content")
        commands = [
            Command(overrides=[*each["overrides"]], given_again=[*each["given_again"]], jobs=each["jobs"])
            for each in record["commands"]
        ]
        for command in commands:
            texts = (*command["overrides"], *command["given_again"])
            if not all(isinstance(text, str) for text in texts) or not isinstance(command["jobs"], int | None):
                raise ValueError("its entries are of other kinds")
            for text in command["overrides"]:
                if text.startswith("-") or not _may_be_recorded(text):
                    raise ValueError(f"it holds {text}, which a file may not ask for")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(str(path), f"is no record of a sweep: {' '.join(str(error).split())}") from error
    return commands


def continuing(folder: Path, argv: Sequence[str]) -> list[list[str]]:
    """Command lines that continue the sweep in `folder`, one for each that it was begun by.

    Args:
        folder: of the sweep.
        argv: the command line that asks for it.

    Raises:
        ConfigError: if one of its overrides would change a result.
        StateError: if the record is damaged, or more is needed than it may hold.
    """
    overrides = [text for text in parsed_flags(argv)[1] if key_of(text) != "resume"]
    switches = [text for text in _switches(argv) if text not in MULTIRUN]
    given = {key_of(text): text for text in overrides}
    for key in given:
        if key.partition(".")[0] not in MAY_DIFFER and not key.startswith("hydra"):
            hint = f"leave it out, or start another sweep with {given[key]}"
            raise ConfigError(key, "cannot be changed in a sweep that was begun", hint)
    lines = []
    for command in commands_of(folder):
        if missing := [text for text in command["given_again"] if text not in (*switches, *overrides)]:
            hint = f"add {' '.join(missing)} if you trust it"
            raise StateError(str(folder), f"was begun with {' '.join(missing)}, which a file may not ask for", hint)
        kept = [text for text in command["overrides"] if key_of(text) not in given]
        retry = [] if "retry_failed" in given else ["retry_failed=false"]
        lines.append(["-m", *switches, *kept, *overrides, *retry])
    return lines


def to_go_on(argv: Sequence[str]) -> list[str]:
    """Arguments, besides `resume=FOLDER`, of a command line that continues a sweep as `argv` runs it."""
    launcher = [text for text in parsed_flags(argv)[1] if _of_launcher(text) and key_of(text) != PLACE]
    return [*_again(argv), *launcher]


def _again(argv: Sequence[str]) -> list[str]:
    """Arguments that choose code, but for launchers, whose choice is free."""
    overrides = [text for text in parsed_flags(argv)[1] if key_of(text) != "resume"]
    chosen = [text for text in overrides if not _may_be_recorded(text) and not _of_launcher(text)]
    return [*(text for text in _switches(argv) if text not in MULTIRUN), *chosen]


def _switches(argv: Sequence[str]) -> list[str]:
    """Flags and their values."""
    overrides = parsed_flags(argv)[1]
    return [text for text in argv if text not in overrides]


def _of_results(command: Command) -> list[str]:
    """Overrides that affect the jobs' results."""
    return [text for text in command["overrides"] if key_of(text).partition(".")[0] not in MAY_DIFFER]


def _may_be_recorded(override: str) -> bool:
    key = key_of(override)
    if override == OPTION or key in KEYS:  # our own search, and numbers and names of its
        return True
    return key != "plugins" and key != "resume" and (not key.startswith("hydra") or key == RECORDED_OF_HYDRA)


def _of_launcher(override: str) -> bool:
    return key_of(override).startswith(("hydra/launcher", "hydra.launcher")) or key_of(override) == PLACE
