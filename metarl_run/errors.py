"""The ways a run can end other than well, each with its own exit code.

An error is one line, `error: <dotted.key or path>: <reason>`, and at most one `hint:` line. Everything raised
on purpose derives from `RunError`; any other exception is a bug, of this package or of a component (exit code 1).
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

DONE = 0
BUG = 1
SWEEP_HAS_FAILURES = 6
INTERRUPTED = 130
TERMINATED = 143

CONTROLS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Characters, as in a pattern's brackets, that no name has: controls (C0, DEL, C1), separators of lines and paragraphs,
bidirectional embeddings, overrides and isolates."""

UNSEEN = re.compile(
    f"[{CONTROLS}"
    r"\u061c\u200b-\u200f\u2060-\u2064\ufeff\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""These, other characters without a picture, and surrogates, which have no encoding."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""The text on one line, with such characters as escapes: `\x1b` for the one that starts a terminal's commands.

    Args:
        text: may come from a file or the command line.
        lines: keep line breaks.
    """
    if lines:
        return "\n".join(map(visible, text.split("\n")))
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


class RunError(Exception):
    """An expected failure: where it lies, why, and what to do next.

    Args:
        where: dotted configuration key, path or quantity that is at fault.
        reason: what was got and what was wanted.
        hint: the next step, if there is an obvious one.
    """

    exit_code: ClassVar[int]

    def __init__(self, where: str, reason: str, hint: str | None = None) -> None:
        super().__init__(where, reason, hint)  # the arguments themselves, so that a worker process can pickle it
        self.where, self.reason, self.hint = where, reason, hint

    def __str__(self) -> str:
        line = visible(f"error: {self.where}: {self.reason}")
        return line if self.hint is None else f"{line}\n{visible(f'hint: {self.hint}')}"


class Bug(RunError):
    """An exception that nobody expected; its crash report tells the whole story."""

    exit_code = BUG


class PluginError(RunError):
    """An exception that nobody expected in code of a plugin."""

    exit_code = BUG


class ConfigError(RunError):
    """Bad usage or configuration: nothing was created."""

    exit_code = 2


class ContractError(RunError):
    """A component returned what its base class rules out."""

    exit_code = 2


class StateError(RunError):
    """A run folder or checkpoint that cannot be used: nothing was modified."""

    exit_code = 3


class NumericalError(RunError):
    """A number that should be finite is not.

    Args:
        where: the quantity and its origin.
        reason: what was got and what was wanted.
        hint: the next step, if the cause is known.
        task: index of the task that it belongs to, if it belongs to one.
        at: further places, such as a step, from the inside outwards.
    """

    exit_code = 4

    def __init__(
        self, where: str, reason: str, hint: str | None = None, *, task: int | None = None, at: Sequence[str] = ()
    ) -> None:
        self.got, self.task, self.at = reason, task, tuple(at)
        places = ", ".join([*([] if task is None else [f"task {task}"]), *at])
        super().__init__(where, f"{reason} in {places}" if places else reason, hint)


@contextlib.contextmanager
def located(*at: str, origin: str | None = None, first_task: int = 0, hint: str | None = None) -> Iterator[None]:
    """Complete what a NumericalError from within says about its place.

    Args:
        at: places that enclose its own.
        origin: component that the quantity comes from, unless one is named.
        first_task: index of the first of the tasks within.
        hint: the next step, unless there is one.
    """
    try:
        yield
    except NumericalError as error:
        where = error.where if origin is None or " of " in error.where else f"{error.where} of {origin}"
        task = None if error.task is None else error.task + first_task
        raise NumericalError(where, error.got, error.hint or hint, task=task, at=(*error.at, *at)) from error


class ResourceError(RunError):
    """Disk, memory or device failed."""

    exit_code = 5


class Pruned(Exception):
    """The early end of a run that a search has no use for, since others are better: no failure.

    Args:
        iteration: meta-updates done.
    """

    def __init__(self, iteration: int) -> None:
        super().__init__(iteration)
        self.iteration = iteration
