"""Kinds of configuration values, stated once, in annotations.

A component declares `inner_lr: Positive`; a hand-written constructor does so too and is decorated with `@checked`. The
same annotation serves twice: here, when the object is made, and in `metarl_run.config.static.signature`, which reads it
from the source text so that a bad configuration is refused before torch is imported. This module therefore imports
nothing heavy.
"""

import functools
import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")

LARGEST = 2**53
"""Of a count: more is a mistake, and overflows in the libraries below."""


LARGEST_SINGLE = 3.4e38
"""Of a number: tensors have single precision."""


@dataclass(frozen=True)
class Interval:
    """Finite numbers of one type between two bounds.

    Args:
        number: `int` or `float`; an int is accepted where a float is wanted, never the reverse.
        low: smallest allowed value, in the value's own unit.
        high: largest allowed value.
        open_low: the smallest value itself is not allowed.
        open_high: the largest value itself is not allowed.
    """

    number: type
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = field(default=False, kw_only=True)
    open_high: bool = field(default=False, kw_only=True)

    def problem(self, value: object) -> str | None:
        """The problem with `value`: `must be …, got …`; None if there is none."""
        numbers = (int,) if self.number is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers):
            return f"must be {self}, got {value!r}"
        if self.high == LARGEST < value:
            return f"must be {self} and at most 2^53, got {value!r}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"must be {self}, got {value!r}"
        if self.number is float and abs(value) > LARGEST_SINGLE:
            return f"must be {self} that single precision can hold, got {value!r}"
        below = value <= self.low if self.open_low else value < self.low
        above = value >= self.high if self.open_high else value > self.high
        return f"must be {self}, got {value!r}" if below or above else None

    def __str__(self) -> str:
        name = "an integer" if self.number is int else "a finite number"
        if math.isfinite(self.low) and self.high < LARGEST:
            left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return f"{name} in {left}{self.low:g}, {self.high:g}{right}"
        if math.isfinite(self.low):
            return f"{name} {'>' if self.open_low else '>='} {self.low:g}"
        return name


@dataclass(frozen=True)
class OrAuto:
    """The word `auto`, or a number in an interval."""

    numbers: Interval

    def problem(self, value: object) -> str | None:
        wrong = None if value == "auto" else self.numbers.problem(value)
        return wrong and wrong.replace("must be ", "must be auto or ", 1)


@dataclass(frozen=True)
class ListOf:
    """A list whose every entry is of one kind, with at least `at_least` entries."""

    kind: Any
    at_least: int = field(default=0, kw_only=True)

    def problem(self, value: object) -> str | None:
        if not isinstance(value, list | tuple):
            return f"must be a list, got {value!r}"
        if len(value) < self.at_least:
            return f"must have at least {self.at_least} entries, got {value!r}"
        return next((f"entry {i} {p}" for i, entry in enumerate(value) if (p := problem(self.kind, entry))), None)


@dataclass(frozen=True)
class Between:
    """Two finite numbers, the first below the second, each of one kind."""

    kind: Any = Annotated[float, Interval(float)]

    def problem(self, value: object) -> str | None:
        if wrong := ListOf(self.kind).problem(value):
            return wrong
        assert isinstance(value, list | tuple)
        right = len(value) == 2 and value[0] < value[1]
        return None if right else f"must be [low, high] with low < high, got {value!r}"


class Keyed:
    """A mapping with exactly the given keys.

    Args:
        keys: its keys.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def problem(self, value: object) -> str | None:
        if not isinstance(value, dict):
            return f"must be a mapping of {', '.join(self.keys)}, got {value!r}"
        if missing := [key for key in self.keys if key not in value]:
            return f"lacks {missing[0]!r}"
        if unknown := [key for key in value if key not in self.keys]:
            return f"has an unknown key {unknown[0]!r}; it takes {', '.join(self.keys)}"
        return next((f"{key}: {p}" for key, entry in value.items() if (p := self.entry_problem(key, entry))), None)

    def entry_problem(self, key: str, entry: object) -> str | None:
        """The problem with the value of `key`; None if there is none."""
        return None


class Distributions(Keyed):
    """A mapping with exactly the given keys, from each task parameter to its distribution.

    A distribution is a number (constant) or a list that starts with its name:
    `[constant, c]`, `[uniform, low, high]` (also several intervals: `[uniform, 1, 5, 15, 20]`, drawn in proportion to
    their lengths), `[log_uniform, low, high]`, `[normal, mean, standard deviation]`, `[choice, a, b, …]`.

    Args:
        keys: the task parameters.
        positive: parameters whose every possible value must be > 0.
        among: parameters whose every value must be one of a few.
    """

    def __init__(
        self, *keys: str, positive: Sequence[str] = (), among: Mapping[str, Sequence[float]] | None = None
    ) -> None:
        super().__init__(*keys)
        self.positive, self.among = positive, among or {}

    def entry_problem(self, key: str, spec: object) -> str | None:
        """The problem with the distribution of the parameter `key`; None if there is none."""
        if wrong := distribution_problem(spec):
            return wrong
        name, *numbers = spec if isinstance(spec, list | tuple) else ("constant", spec)
        if key in self.positive and distribution_range(spec)[0] <= 0:
            return f"must be > 0 wherever it can be drawn, got {spec!r}"
        allowed = self.among.get(key)
        if allowed and (name not in ("constant", "choice") or not set(numbers) <= set(allowed)):
            return f"must be one of {', '.join(map(str, allowed))} or a choice among them, got {spec!r}"
        return None


class DistributionsByName:
    """A mapping from any names to distributions, see `Distributions`."""

    def problem(self, value: object) -> str | None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return f"must be a mapping from names to distributions, got {value!r}"
        return next((f"{key}: {p}" for key, entry in value.items() if (p := distribution_problem(entry))), None)


Reduction = Literal["max", "min", "mean", "sum", "last"]
"""The value of an episode, of those of its steps."""


class Reductions:
    """A mapping from any names to reductions."""

    def problem(self, value: object) -> str | None:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return f"must be a mapping from names to reductions, got {value!r}"
        if odd := [key for key in value if not key.isidentifier()]:
            return f"must have plain words as keys, got {odd[0]!r}"
        return next((f"{key}: {p}" for key, entry in value.items() if (p := problem(Reduction, entry))), None)


DISTRIBUTION_NAMES = ("constant", "uniform", "log_uniform", "normal", "choice")


def distribution_problem(spec: object) -> str | None:
    """The problem with one task parameter's distribution; None if there is none."""
    if not isinstance(spec, list | tuple):
        return Interval(float).problem(spec)
    if not spec or spec[0] not in DISTRIBUTION_NAMES:
        return f"must start with one of {', '.join(DISTRIBUTION_NAMES)}, got {list(spec)!r}"
    name, numbers = spec[0], list(spec[1:])
    if wrong := ListOf(Real, at_least=1).problem(numbers):
        return f"{name}: {wrong}"
    wanted = {"constant": 1, "log_uniform": 2, "normal": 2}.get(name)
    if wanted is not None and len(numbers) != wanted:
        return f"{name} takes {wanted} number{'s'[: wanted - 1]}, got {numbers!r}"
    if name == "uniform" and len(numbers) % 2:
        return f"uniform takes pairs of bounds, got {numbers!r}"
    if name.endswith("uniform") and any(low >= high for low, high in zip(numbers[::2], numbers[1::2], strict=True)):
        return f"{name}: each low must be < its high, got {numbers!r}"
    if name == "log_uniform" and numbers[0] <= 0:
        return f"log_uniform: low must be > 0, got {numbers[0]!r}"
    if name == "normal" and numbers[1] < 0:
        return f"normal: the standard deviation must be >= 0, got {numbers[1]!r}"
    return None


def distribution_range(spec: Any) -> tuple[float, float]:
    """The smallest and the largest value that can be drawn."""
    name, *numbers = spec if isinstance(spec, list | tuple) else ("constant", spec)
    if name == "normal" and numbers[1]:
        return -math.inf, math.inf
    values = numbers[:1] if name == "normal" else numbers
    return min(values), max(values)


# --- Checks against other arguments ---

Wrong = tuple[str, str]
"""Where in an argument something is wrong, such as `.mean` or nothing, and what: a phrase that starts with `must`."""


class Related:
    """A check against other arguments of the same constructor, made once each of them is of its own kind."""

    def problem(self, value: object) -> str | None:
        """The problem with `value` alone."""
        return None

    @abstractmethod
    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        """The problem with `value` beside the other arguments; None if there is none."""


@dataclass(frozen=True)
class Above(Related):
    """A number above another argument."""

    other: str

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        bound = others.get(self.other)
        return (
            None if bound is None or value > bound else ("", f"must be > {self.other}, which is {bound}, got {value!r}")
        )


@dataclass(frozen=True)
class AtMost(Related):
    """A number not above another argument."""

    other: str

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        bound = others.get(self.other)
        return (
            None
            if bound is None or value <= bound
            else ("", f"must be <= {self.other}, which is {bound}, got {value!r}")
        )


@dataclass(frozen=True)
class MultipleOfTwice(Related):
    """A multiple of two times another argument."""

    other: str

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        unit = 2 * others.get(self.other, 1)
        if value % unit == 0:
            return None
        wanted = f"must be a multiple of twice {self.other}={unit // 2}"
        return "", f"{wanted}, got {value}; try {unit * (value // unit + 1)}"


@dataclass(frozen=True)
class MultipleOf(Related):
    """A multiple of another argument."""

    other: str

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        unit = others.get(self.other, 1)
        if value % unit == 0:
            return None
        return "", f"must be a multiple of {self.other}={unit}, got {value}; try {unit * (value // unit + 1)}"


@dataclass(frozen=True)
class ProbabilityIf(Related):
    """A mapping in which the distribution of one parameter is within [0, 1] if another argument has a certain value."""

    key: str
    other: str
    value: str

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        low, high = distribution_range(value[self.key])
        if others.get(self.other) != self.value or 0 <= low <= high <= 1:
            return None
        wanted = f"must lie in [0, 1] wherever it can be drawn if {self.other} is {self.value}"
        return f".{self.key}", f"{wanted}, got {value[self.key]!r}"


class Cells(Keyed, Related):
    """A mapping with one key, to `all` or a list of different cells of a grid besides cell 0.

    Args:
        key: the key.
        size: the argument that is the grid's side.
    """

    def __init__(self, key: str, size: str) -> None:
        super().__init__(key)
        self.size = size

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        (key,) = self.keys
        cells, last = value[key], others[self.size] ** 2 - 1
        if cells == "all":
            return None
        right = isinstance(cells, list | tuple) and all(type(cell) is int and 1 <= cell <= last for cell in cells)
        if right and cells and len(set(cells)) == len(cells):
            return None
        return f".{key}", f"must be all or a list of different cells in [1, {last}], got {cells!r}"


class TasksOf(Keyed, Related):
    """A mapping with the key `tasks`, to `all` or how many of the tasks of a family that has finitely many.

    There are size^power tasks: a goal, or as many goals as `power` has dimensions of the grid.

    Args:
        size: the argument that is the grid's side.
        power: its power.
        goal: the argument that fixes the goal, unless it is `any`.
        permuted: the argument that multiplies the tasks by the 120 orders of five actions.
        beside: the argument with the number of the other split: together they may not be more than there are.
    """

    def __init__(self, size: str, *, power: int = 2, goal: str = "", permuted: str = "", beside: str = "") -> None:
        super().__init__("tasks")
        self.size, self.power, self.goal, self.permuted, self.beside = size, power, goal, permuted, beside

    def entry_problem(self, key: str, entry: object) -> str | None:
        wrong = None if entry == "all" else Interval(int, 1).problem(entry)
        return wrong and wrong.replace("must be ", "must be all or ", 1)

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        total = others[self.size] ** self.power if others.get(self.goal, "any") == "any" else 1
        total *= 120 if others.get(self.permuted) else 1
        tasks, other = value["tasks"], (others.get(self.beside) or {}).get("tasks", "all")
        if tasks == "all":
            return None
        if tasks > total:
            return ".tasks", f"must be all or at most {total}, the number of tasks, got {tasks}"
        if other != "all" and tasks + other > total:
            return (
                ".tasks",
                f"must be all or at most {total - other}, which {self.beside} leaves of {total}, got {tasks}",
            )
        return None


@dataclass(frozen=True)
class AnyOrCell(Related):
    """The word `any`, or a cell of a grid.

    Args:
        size: the argument that is the grid's side.
    """

    size: str

    def problem(self, value: object) -> str | None:
        wrong = None if value == "any" else Interval(int, 0).problem(value)
        return wrong and wrong.replace("must be ", "must be any or ", 1)

    def problem_beside(self, value: Any, others: Mapping[str, Any]) -> Wrong | None:
        last = others[self.size] ** 2 - 1
        right = value == "any" or value <= last
        return None if right else ("", f"must be any or a cell in [0, {last}], got {value!r}")


Real = Annotated[float, Interval(float)]
Positive = Annotated[float, Interval(float, 0.0, open_low=True)]
NonNegative = Annotated[float, Interval(float, 0.0)]
Fraction = Annotated[float, Interval(float, 0.0, 1.0)]
BelowOne = Annotated[float, Interval(float, 0.0, 1.0, open_high=True)]
Whole = Annotated[int, Interval(int, 0)]
Count = Annotated[int, Interval(int, 1, LARGEST)]
Threads = Annotated[int | Literal["auto"], OrAuto(Interval(int, 1, 4096))]
Several = Annotated[int, Interval(int, 2)]
Reals = Annotated[Sequence[float], ListOf(Real, at_least=1)]
Widths = Annotated[Sequence[int], ListOf(Count)]
Bounds = Annotated[Sequence[float], Between()]
PositiveBounds = Annotated[Sequence[float], Between(Positive)]
Names = Annotated[Sequence[str], ListOf(str)]


def problem(kind: Any, value: object) -> str | None:
    """The problem with `value` as a value of `kind`: a phrase that starts with `must`; None if there is none.

    Other classes stand for components, which are built elsewhere: they accept any value.
    """
    if get_origin(kind) is Annotated:
        return next((p for check in get_args(kind)[1:] if (p := check.problem(value))), None)
    if get_origin(kind) is Literal:
        words = get_args(kind)
        right = any(value == word and type(value) is type(word) for word in words)
        shown = (str(word).lower() if isinstance(word, bool) else str(word) for word in words)
        return None if right else f"must be one of {', '.join(shown)}, got {value!r}"
    if get_args(kind) and type(None) in get_args(kind):
        others = [option for option in get_args(kind) if option is not type(None)]
        return None if value is None else problem(others[0], value) if len(others) == 1 else None
    if kind is float:
        return Interval(float).problem(value)
    if kind is int:
        return Interval(int).problem(value)
    if kind in (bool, str):
        noun = {bool: "true or false", str: "a word"}[kind]
        return None if type(value) is kind else f"must be {noun}, got {value!r}"
    return None


def problem_beside(kind: Any, value: object, others: Mapping[str, Any]) -> Wrong | None:
    """The problem with `value`, which is of `kind`, beside the other arguments; None if there is none."""
    if get_origin(kind) is Annotated:
        related = [check for check in get_args(kind)[1:] if isinstance(check, Related)]
        return next((wrong for check in related if (wrong := check.problem_beside(value, others))), None)
    if value is not None and type(None) in get_args(kind):
        found = (problem_beside(option, value, others) for option in get_args(kind))
        return next((wrong for wrong in found if wrong), None)
    return None


def checked(init: Callable[P, R]) -> Callable[P, R]:
    """Make a constructor check its arguments against its annotations; ValueError names the first bad one."""
    names = inspect.signature(init)

    @functools.wraps(init)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        kinds = get_type_hints(init, include_extras=True)
        for name, value in names.bind(*args, **kwargs).arguments.items():
            if name in kinds and (wrong := problem(kinds[name], value)):
                raise ValueError(f"{name} {wrong}")
        return init(*args, **kwargs)

    return checking
