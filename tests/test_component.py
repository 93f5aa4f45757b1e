"""Components: constructors written as annotated fields, in the class and in its source text."""

import inspect
from typing import ClassVar

import pytest

from metarl_run.component import Component, field
from metarl_run.kinds import Count, Positive


class Shape(Component):
    size: Positive
    sides: Count = 4
    colours: ClassVar[tuple[str, ...]] = ("red",)


class Named(Component):
    word: str = field(alias="name")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.length = len(self.word)


class Both(Shape, Named):
    sides: Count = field(init=False, default=3)
    area: float = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.area = self.size**2


def test_fields_of_all_ancestors_are_arguments_and_attributes():
    made = Both(size=2.0, name="abc")
    assert (made.size, made.sides, made.word, made.length, made.area) == (2.0, 3, "abc", 3, 4.0)
    assert not hasattr(made, "name")


def test_a_default_stands_for_an_argument_that_is_not_given():
    assert Shape(size=1.0).sides == 4 and Shape(size=1.0, sides=5).sides == 5
    assert Shape.sides == 4


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, TypeError, "Shape lacks the argument 'size'"),
        ({"size": 1.0, "sizes": 1}, TypeError, "Shape takes no argument 'sizes'; it takes size, sides"),
        ({"size": 0.0}, ValueError, "size must be a finite number > 0, got 0.0"),
        ({"size": 1.0, "sides": 0}, ValueError, "sides must be an integer >= 1, got 0"),
    ],
)
def test_what_is_missing_unknown_or_of_another_kind_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Shape(**arguments)


def test_the_argument_is_named_by_its_alias():
    with pytest.raises(ValueError, match="name must be a word, got 3"):
        Named(name=3)


def test_no_positional_arguments():
    with pytest.raises(TypeError):
        Shape(1.0)


def test_the_signature_is_that_of_the_fields():
    assert list(inspect.signature(Both).parameters) == ["name", "size"]
    assert inspect.signature(Shape).parameters["size"].default is inspect.Parameter.empty
    assert inspect.signature(Shape).parameters["sides"].default == 4


def test_a_class_may_have_a_constructor_of_its_own_and_call_that_of_the_fields():
    class Own(Shape):
        scale: float

        def __init__(self, *, diameter: float) -> None:
            super().__init__(size=diameter / 2)
            self.scale = 1.0

    class PassedOn(Shape):
        def __init__(self, *, weight: float, **others: object) -> None:
            super().__init__(**others)

    assert PassedOn(weight=1.0, size=2.0).size == 2.0
    assert list(inspect.signature(PassedOn).parameters) == ["weight", "size", "sides"]
    assert Own(diameter=3.0).size == 1.5
    assert list(inspect.signature(Own).parameters) == ["diameter"]
