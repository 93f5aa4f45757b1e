"""Kinds of values: what is accepted, and what is said of what is not."""

import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl_run.kinds import (
    Above,
    AtMost,
    BelowOne,
    Bounds,
    Cells,
    Count,
    Distributions,
    DistributionsByName,
    Fraction,
    MultipleOf,
    MultipleOfTwice,
    Names,
    NonNegative,
    Positive,
    PositiveBounds,
    ProbabilityIf,
    Real,
    Whole,
    Widths,
    checked,
    distribution_problem,
    problem,
    problem_beside,
)

ACCEPTED = [
    (Real, -3),
    (Real, 1e38),
    (Positive, 1e-300),
    (NonNegative, 0),
    (Fraction, 0.0),
    (Fraction, 1),
    (Whole, 0),
    (Whole, 10**400),
    (Count, 1),
    (Widths, []),
    (Widths, [64, 64]),
    (Bounds, [-1, 0.5]),
    (Names, ["a"]),
    (bool, False),
    (str, ""),
    (float, 2),
    (int | None, None),
    (str | None, "x"),
    (Literal["a", "b"], "b"),
    (object, "a component: anything passes"),
]
REFUSED = [
    (Real, math.nan, "must be a finite number, got nan"),
    (Real, math.inf, "must be a finite number, got inf"),
    (Real, 1e39, "must be a finite number that single precision can hold, got 1e+39"),
    (Positive, 10**400, f"must be a finite number > 0 that single precision can hold, got {10**400}"),
    (Real, True, "must be a finite number, got True"),
    (Real, "1", "must be a finite number, got '1'"),
    (Real, None, "must be a finite number, got None"),
    (Positive, 0, "must be a finite number > 0, got 0"),
    (NonNegative, -0.5, "must be a finite number >= 0, got -0.5"),
    (Fraction, 1.01, "must be a finite number in [0, 1], got 1.01"),
    (BelowOne, 1, "must be a finite number in [0, 1), got 1"),
    (PositiveBounds, [0, 1], "entry 0 must be a finite number > 0, got 0"),
    (Annotated[Count, AtMost("candidates")], 0, "must be an integer >= 1, got 0"),
    (Whole, -1, "must be an integer >= 0, got -1"),
    (Whole, 1.0, "must be an integer >= 0, got 1.0"),
    (Count, 0, "must be an integer >= 1, got 0"),
    (Bounds, 0.5, "must be a list, got 0.5"),
    (Bounds, [0.5], "must be [low, high] with low < high, got [0.5]"),
    (Bounds, [1, 1.0], "must be [low, high] with low < high, got [1, 1.0]"),
    (Bounds, [0, "1"], "entry 1 must be a finite number, got '1'"),
    (Widths, 64, "must be a list, got 64"),
    (Widths, [64, 0], "entry 1 must be an integer >= 1, got 0"),
    (Names, [1], "entry 0 must be a word, got 1"),
    (bool, 1, "must be true or false, got 1"),
    (str, 1, "must be a word, got 1"),
    (Literal["a", "b"], "c", "must be one of a, b, got 'c'"),
    (Literal[1, 2], True, "must be one of 1, 2, got True"),
]


@pytest.mark.parametrize(("kind", "value"), ACCEPTED)
def test_accepts(kind: Any, value: object) -> None:
    assert problem(kind, value) is None


@pytest.mark.parametrize(("kind", "value", "said"), REFUSED)
def test_refuses_and_says_why(kind: Any, value: object, said: str) -> None:
    assert problem(kind, value) == said


MULTIPLE = ("", "must be a multiple of twice heads=2, got 6; try 8")


@pytest.mark.parametrize(
    ("check", "value", "others", "wrong"),
    [
        (Above("low"), 2, {"low": 1}, None),
        (Above("low"), 1, {"low": 1}, ("", "must be > low, which is 1, got 1")),
        (Above("low"), 1, {}, None),
        (AtMost("high"), 1, {"high": 1}, None),
        (AtMost("high"), 2, {"high": 1}, ("", "must be <= high, which is 1, got 2")),
        (MultipleOf("parts"), 9, {"parts": 3}, None),
        (MultipleOf("parts"), 8, {"parts": 3}, ("", "must be a multiple of parts=3, got 8; try 9")),
        (MultipleOfTwice("heads"), 8, {"heads": 2}, None),
        (MultipleOfTwice("heads"), 6, {"heads": 2}, MULTIPLE),
        (ProbabilityIf("p", "r", "b"), {"p": ["uniform", 0, 1]}, {"r": "b"}, None),
        (ProbabilityIf("p", "r", "b"), {"p": ["normal", 0, 1]}, {"r": "g"}, None),
        (
            ProbabilityIf("p", "r", "b"),
            {"p": ["choice", 1, 1.5]},
            {"r": "b"},
            (".p", "must lie in [0, 1] wherever it can be drawn if r is b, got ['choice', 1, 1.5]"),
        ),
        (Cells("at", "n"), {"at": [1, 8]}, {"n": 3}, None),
        (
            Cells("at", "n"),
            {"at": [9]},
            {"n": 3},
            (".at", "must be all or a list of different cells in [1, 8], got [9]"),
        ),
    ],
)
def test_arguments_are_checked_against_each_other(
    check: Any, value: object, others: dict[str, Any], wrong: tuple[str, str] | None
) -> None:
    assert problem_beside(Annotated[Any, check], value, others) == wrong
    assert problem_beside(Annotated[Any, check] | None, value, others) == wrong
    assert problem_beside(Annotated[Any, check] | None, None, others) is None


def test_an_optional_value_is_checked_as_what_it_is_besides_null() -> None:
    assert problem(int | None, "x") == "must be an integer, got 'x'"


@pytest.mark.parametrize(
    "spec",
    [
        9.8,
        0,
        ["constant", 1],
        ["uniform", 5, 15],
        ["uniform", 1, 5, 15, 20],
        ["log_uniform", 0.1, 10],
        ["normal", 0, 0],
        ["choice", -1, 1],
        ("choice", 3),
    ],
)
def test_distributions_that_are_understood(spec: object) -> None:
    assert distribution_problem(spec) is None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("uniform", "must be a finite number, got 'uniform'"),
        (math.nan, "must be a finite number, got nan"),
        ([], "must start with one of constant, uniform, log_uniform, normal, choice, got []"),
        (["gamma", 1], "must start with one of"),
        (["constant"], "constant: must have at least 1 entries"),
        (["constant", 1, 2], "constant takes 1 number, got [1, 2]"),
        (["normal", 1], "normal takes 2 numbers, got [1]"),
        (["uniform", 1, 2, 3], "uniform takes pairs of bounds, got [1, 2, 3]"),
        (["uniform", 2, 1], "uniform: each low must be < its high, got [2, 1]"),
        (["uniform", 1, 2, 4, 3], "uniform: each low must be < its high"),
        (["uniform", 1, math.nan], "uniform: entry 1 must be a finite number, got nan"),
        (["uniform", "a", "b"], "uniform: entry 0 must be a finite number, got 'a'"),
        (["choice", True], "choice: entry 0 must be a finite number, got True"),
        (["log_uniform", 0, 1], "log_uniform: low must be > 0, got 0"),
        (["normal", 0, -1], "normal: the standard deviation must be >= 0, got -1"),
    ],
)
def test_distributions_that_are_not(spec: object, said: str) -> None:
    assert (distribution_problem(spec) or "").startswith(said)


@given(st.lists(st.one_of(st.sampled_from(["constant", "uniform", "normal"]), st.floats(), st.integers(), st.none())))
def test_any_list_is_either_a_distribution_or_told_what_is_wrong(spec: list[object]) -> None:
    said = distribution_problem(spec)
    assert said is None or "got" in said


def test_distributions_have_exactly_their_keys() -> None:
    kind = Distributions("mass", "length")
    assert kind.problem({"mass": 1, "length": ["uniform", 0, 1]}) is None
    assert kind.problem({"mass": 1}) == "lacks 'length'"
    assert kind.problem({"mass": 1, "length": 1, "width": 1}) == "has an unknown key 'width'; it takes mass, length"
    assert kind.problem({"mass": 1, "length": [1]}).startswith("length: must start with")
    assert kind.problem([1]).startswith("must be a mapping of mass, length")


@pytest.mark.parametrize("spec", [0, -1, ["uniform", 0, 1], ["choice", 1, -1], ["normal", 5, 1], ["constant", 0]])
def test_a_positive_parameter_is_positive_wherever_it_can_be_drawn(spec: object) -> None:
    kind = Distributions("mass", positive=("mass",))
    assert kind.problem({"mass": spec}) == f"mass: must be > 0 wherever it can be drawn, got {spec!r}"
    assert kind.problem({"mass": ["uniform", 1e-9, 1]}) is None
    assert kind.problem({"mass": ["normal", 5, 0]}) is None


@pytest.mark.parametrize("spec", [0, ["choice", -1, 2], ["uniform", -1, 1]])
def test_a_parameter_among_few_values(spec: object) -> None:
    kind = Distributions("sign", among={"sign": (-1, 1)})
    assert "must be one of -1, 1" in (kind.problem({"sign": spec}) or "")
    assert kind.problem({"sign": ["choice", 1, -1]}) is None
    assert kind.problem({"sign": -1}) is None


def test_distributions_by_name_may_have_any_names() -> None:
    kind = DistributionsByName()
    assert kind.problem({"gravity": ["uniform", 5, 15], "model.mass": 2}) is None and kind.problem({}) is None
    assert "must be a mapping" in (kind.problem([1]) or "")
    assert "gravity: uniform" in (kind.problem({"gravity": ["uniform", 5]}) or "")


class Sized:
    @checked
    def __init__(self, *, size: Count, name: str | None) -> None:
        self.size, self.name = size, name


def test_checked_constructors_name_the_first_bad_argument() -> None:
    assert Sized(size=3, name=None).size == 3
    with pytest.raises(ValueError, match="size must be an integer >= 1, got 0"):
        Sized(size=0, name=None)
    with pytest.raises(ValueError, match="name must be a word, got 3"):
        Sized(size=1, name=3)
    with pytest.raises(TypeError, match="unexpected"):
        Sized(size=1, name=None, colour="red")
