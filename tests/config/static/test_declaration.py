"""What a class declares in literals is read with its value, from the nearest class that assigns it."""

from collections.abc import Callable

import pytest

from metarl_run.config.static.declaration import Declaration
from metarl_run.config.static.signature import signature
from metarl_run.errors import ConfigError

MakePackage = Callable[..., str]


def declared(make_package: MakePackage, text: str, name: str = "Thing") -> Declaration:
    package = make_package("toy", things=text)
    found = signature(f"{package}.things.{name}", (package,))
    assert found is not None
    return found.declared


CONDITIONAL = """
from typing import ClassVar
class Thing:
    provides = ("always",)
    provides_if: ClassVar[dict[str, dict[object, tuple[str, ...]]]] = {"mode": {"fast": ("speed",)}}
    requires = ("ground",)
    requires_if = {
        "mode": {"fast": ("road", "fuel"), "slow": (), None: ("rails",)},
        "deep": {True: ("water",), 2: ("two",), 0: ("zero",)},
    }
    advice = {"mode": "fast is fine"}
class Child(Thing): ...
class Other(Thing):
    requires_if = {"mode": {"slow": ("time",)}}
    provides_if = {}
class Wordy(Other):
    requires = ["list"]
"""


@pytest.mark.parametrize("name", ["Thing", "Child"])
def test_words_depend_on_the_values_of_arguments(make_package: MakePackage, name: str) -> None:
    found = declared(make_package, CONDITIONAL, name)
    ground = (None, "ground")
    assert found.required({}) == [ground]
    assert found.required({"mode": "fast"}) == [ground, ("mode", "road"), ("mode", "fuel")]
    assert found.required({"mode": "slow", "deep": True}) == [ground, ("deep", "water")]
    assert found.required({"mode": None, "deep": 1}) == [ground, ("mode", "rails")]
    assert found.required({"deep": [1, 2, True]}) == [ground, ("deep", "water"), ("deep", "two")]
    assert found.required({"deep": [1, [3]]}) == [ground]
    assert found.provided({"mode": "slow"}) == {"always"}
    assert found.provided({"mode": "fast"}) == {"always", "speed"}
    assert found.advice == {"mode": "fast is fine"}


@pytest.mark.parametrize(
    ("value", "words"), [(True, ["water"]), (1, []), (2, ["two"]), (2.0, ["two"]), (0, ["zero"]), (False, [])]
)
def test_true_is_not_one(make_package: MakePackage, value: object, words: list[str]) -> None:
    found = declared(make_package, CONDITIONAL)
    assert [word for argument, word in found.required({"deep": value}) if argument] == words


def test_a_class_that_assigns_replaces_what_its_ancestors_said(make_package: MakePackage) -> None:
    found = declared(make_package, CONDITIONAL, "Other")
    assert found.required({"mode": "fast", "deep": True}) == [(None, "ground")]
    assert found.required({"mode": "slow"}) == [(None, "ground"), ("mode", "time")]
    assert found.provided({"mode": "fast"}) == {"always"}
    assert found.advice == {"mode": "fast is fine"}
    assert declared(make_package, CONDITIONAL, "Wordy").required({}) == [(None, "list")]


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ("provides", "WORDS"),
        ("provides", "('a',) + ('b',)"),
        ("requires", "'tabular'"),
        ("requires", "(1,)"),
        ("requires_if", "{'mode': {'fast': 'road'}}"),
        ("requires_if", "{'mode': ('road',)}"),
        ("requires_if", "{3: {}}"),
        ("requires_if", "{'mode': {[]: ('road',)}}"),
        ("provides_if", "dict(mode={})"),
        ("advice", "{'mode': 3}"),
        ("advice", "'fast is fine'"),
    ],
)
def test_what_is_no_literal_of_its_form_is_told(make_package: MakePackage, attribute: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        declared(make_package, f"WORDS = ('a',)\nclass Thing:\n    {attribute} = {text}\n")
    assert caught.value.where == f"toy.things.Thing.{attribute}"
    assert caught.value.reason.startswith("must be a literal ")
    assert "\n" not in caught.value.reason
