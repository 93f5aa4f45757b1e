"""The jobs of a sweep: every combination of swept values, as Hydra's basic sweeper makes them, of every listed run.

Listed runs express what no product of swept values can, such as other step sizes for other families.
"""

import itertools
import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from metarl_run.config.grammar import key_of, quoted
from metarl_run.config.nearest import hint
from metarl_run.config.point import Point
from metarl_run.config.settings import MOST_POINTS
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS

PARTS = {"panel", "given", "runs"}
"""Keys of one part of a list."""

Run = tuple[str, ...]
"""The overrides of one listed run."""

AS_A_RUN = "sweep=null"
"""Override that makes a job of a listed sweep a run like any other."""


def listed_runs(sweep: object) -> list[Run]:
    """The runs that the key `sweep` lists; a single one without overrides where it is null.

        sweep:
          - panel: by gradients                       # of the picture
            given: [meta_test.adaptation_steps=4]     # to all runs below
            runs: [algo=maml env=random_mdp, …]       # overrides of each

    Raises:
        ConfigError: naming the part that is wrong.
    """
    if sweep is None:
        return [()]
    if not isinstance(sweep, Sequence) or isinstance(sweep, str) or not sweep:
        raise ConfigError("sweep", f"must be a list of parts, got {sweep!r}", "see conf/experiment/families.yaml")
    runs: list[Run] = []
    for place, part in enumerate(sweep):
        where = f"sweep[{place}]"
        if not isinstance(part, Mapping) or set(part) != PARTS:
            raise ConfigError(where, f"must be a mapping of {', '.join(sorted(PARTS))}, got {part!r}")
        given = (
            f"panel={'null' if part['panel'] is None else quoted(str(part['panel']))}",
            *_words(part["given"], f"{where}.given"),
        )
        for text in _words(part["runs"], f"{where}.runs"):
            try:
                run = (*given, *shlex.split(text), AS_A_RUN)
            except ValueError as error:  # a quotation without end
                raise ConfigError(f"{where}.runs", f"cannot be read: {str(error).lower()} in {text!r}") from error
            if bad := [override for override in run if "=" not in override]:
                raise ConfigError(f"{where}.runs", f"must consist of key=value, got {bad[0]!r}")
            runs.append(run)
    return runs


def _words(value: object, where: str) -> list[str]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(word, str) for word in value):
        raise ConfigError(where, f"must be a list of words, got {value!r}")
    return list(value)


def together(run: Run, given: Sequence[str]) -> list[str] | None:
    """A listed run with what the command line gives: its values go first, and a group's option chooses among the runs.

    Returns:
        The overrides; None if the run is none of those that the command line asks for.
    """
    asked = {key_of(text): text for text in given}
    mine = {key_of(text): text for text in run}  # the last of several counts
    if any(key in asked and asked[key] != text for key, text in mine.items() if key in GROUPS):
        return None
    return [*(text for key, text in mine.items() if key not in asked), *given]


def require_some(runs: Sequence[Run], number: int, given: Sequence[str]) -> None:
    """Raise ConfigError if the command line asks for none of the listed runs."""
    if number:
        return
    for text in given:
        key, _, option = text.partition("=")
        options = sorted({word.partition("=")[2] for run in runs for word in run if key_of(word) == key})
        if key in GROUPS and options and option not in options:
            raise ConfigError(key, f"the sweep lists no run with {text}", hint(option, options))
    raise ConfigError("sweep", f"lists no run with {' '.join(given)}", "leave out one of them")


def sweep_points(
    runs: Sequence[Run], choices: Sequence[Sequence[str]], given: Sequence[str], compose: Callable[[list[str]], Point]
) -> Iterator[Point]:
    """Compose every job, in Hydra's order.

    Args:
        runs: that the key `sweep` lists; see `listed_runs`.
        choices: for each override a text for each of its values.
        given: the overrides of the command line.
        compose: makes a run of its overrides.

    Raises:
        ConfigError: naming the first combination that is wrong, or if there are too many of them, or none.
    """
    count = len(runs) * math.prod(len(texts) for texts in choices)
    if count > MOST_POINTS:
        raise ConfigError("command line", f"must ask for at most {MOST_POINTS} runs, got {count}")
    number = 0
    for run, overrides in itertools.product(runs, itertools.product(*choices)):
        joint = together(run, overrides)
        if joint is None:
            continue
        number += 1
        try:
            yield compose(joint)
        except ConfigError as error:
            mine = [text for text, texts in zip(overrides, choices, strict=True) if len(texts) > 1]
            which = f"in {' '.join([*run, *mine])}, one of {count} combinations: {error.reason}"
            raise ConfigError(error.where, which, error.hint) from error
    require_some(runs, number, given)
