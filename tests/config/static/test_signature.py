"""Constructor signatures are read from source text, without importing what is read."""

import importlib
import inspect
import math
import sys
from collections.abc import Callable

import pytest

from metarl_run.config.static.annotation import Component
from metarl_run.config.static.signature import Signature, signature
from metarl_run.kinds import problem

MakePackage = Callable[..., str]


def read(make_package: MakePackage, text: str, name: str = "Thing", **modules: str) -> Signature:
    package = make_package("toy", **{"things": text, **modules})
    found = signature(f"{package}.things.{name}", ("metarl_run", package))
    assert found is not None
    return found


def test_nothing_is_imported(make_package: MakePackage) -> None:
    found = read(make_package, "raise SystemExit\nclass Thing:\n    def __init__(self, *, size: int): ...\n")
    assert found.parameters["size"].kind is int
    assert not any(name.startswith("toy") for name in sys.modules)


def test_arguments_with_and_without_defaults(make_package: MakePackage) -> None:
    found = read(make_package, "class Thing:\n    def __init__(self, a, b=1, *, c: str, d: bool = True): ...\n")
    assert {name: p.required for name, p in found.parameters.items()} == {"a": True, "b": False, "c": True, "d": False}
    assert not found.takes_more


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("float", 1, "x"),
        ("'float'", 1, "x"),
        ("Positive", 0.1, 0),
        ("kinds.Count", 1, 0),
        ("metarl_run.kinds.Whole", 0, -1),
        ("Positive | None", None, -1),
        ("Optional[Positive]", 1, -1),
        ("Literal['a', 'b']", "a", "c"),
        ("Literal[1] | None", None, 2),
        ("Annotated[dict, Distributions('mass')]", {"mass": 1}, {"mas": 1}),
        ("Annotated[dict, Distributions('mass', positive=('mass',))]", {"mass": 1}, {"mass": 0}),
        ("Annotated[list, kinds.ListOf(Positive, at_least=2)]", [1, 2], [1]),
        ("Annotated[int, kinds.Interval(int, 2, 5)]", 5, 6),
        ("Mine", 3, 0),
        ("Theirs", 3, 0),
    ],
)
def test_annotations_become_the_checks_that_they_are(
    make_package: MakePackage, annotation: str, good: object, bad: object
) -> None:
    text = f"""
import metarl_run.kinds
from typing import Annotated, Literal, Optional
from metarl_run import kinds
from metarl_run.kinds import Count, Distributions, Positive
from .aliases import Theirs
Mine = Count
class Thing:
    def __init__(self, *, value: {annotation}): ...
"""
    found = read(make_package, text, aliases="from metarl_run.kinds import Count as C\nTheirs = C\n")
    kind = found.parameters["value"].kind
    assert problem(kind, good) is None
    assert problem(kind, bad) is not None


@pytest.mark.parametrize("annotation", ["Any", "Mapping[str, int]", "np.ndarray", "Unknown", "int | Unknown", "3"])
def test_annotations_that_say_nothing_accept_anything(make_package: MakePackage, annotation: str) -> None:
    text = "from typing import Any\nfrom collections.abc import Mapping\nimport numpy as np\n"
    found = read(make_package, f"{text}class Thing:\n    def __init__(self, *, value: {annotation}): ...\n")
    assert found.parameters["value"].kind is None


def test_a_class_stands_for_a_component(make_package: MakePackage) -> None:
    text = """
from toy.parts import Part
class Thing:
    def __init__(self, *, part: Part, other: Part | None): ...
"""
    found = read(make_package, text, parts="class Part: ...\n")
    assert found.parameters["part"].kind == Component("toy.parts.Part")
    assert found.parameters["other"].kind == Component("toy.parts.Part", optional=True)


def test_constructor_and_words_are_inherited(make_package: MakePackage) -> None:
    base = """
from typing import ClassVar
class Base:
    provides: ClassVar[tuple[str, ...]] = ("x",)
    requires = ("y",)
    def __init__(self, *, size: int): ...
"""
    text = "from toy.base import Base\nclass Middle(Base): ...\nclass Thing(Middle):\n    requires = ()\n"
    found = read(make_package, text, base=base)
    assert list(found.parameters) == ["size"]
    assert (found.declared.provides, found.declared.requires) == (("x",), ())
    assert found.bases == ("toy.things.Thing", "toy.things.Middle", "toy.base.Base")


def test_a_shared_ancestor_comes_last_as_in_python(make_package: MakePackage) -> None:
    text = """
class Root:
    provides = ()
class Left(Root): ...
class Right(Root):
    provides = ("right",)
class Thing(Left, Right): ...
"""
    assert read(make_package, text).declared.provides == ("right",)


def test_an_ancestor_outside_the_packages_may_take_anything(make_package: MakePackage) -> None:
    assert read(make_package, "import torch\nclass Thing(torch.nn.Module): ...\n").takes_more
    assert read(make_package, "class Thing:\n    def __init__(self, **more): ...\n").takes_more


def test_dataclasses_have_signatures_and_functions_none(make_package: MakePackage) -> None:
    text = """
from dataclasses import dataclass
from typing import ClassVar
@dataclass(frozen=True)
class Thing:
    size: int
    name: str = "x"
    provides: ClassVar[tuple[str, ...]] = ("x",)
def make(*, size: float): ...
"""
    found = read(make_package, text)
    assert {name: p.required for name, p in found.parameters.items()} == {"size": True, "name": False}
    assert signature("toy.things.make", ("toy",)) is None


def test_a_name_re_exported_by_the_package_is_followed(make_package: MakePackage) -> None:
    make_package(
        "toy", __init__="from .things import Thing\n", things="class Thing:\n    def __init__(self, *, a: int): ...\n"
    )
    found = signature("toy.Thing", ("toy",))
    assert found is not None and list(found.parameters) == ["a"]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "toy.things.os.system",
        "toy.things.system",
        "toy.things.Nope",
        "toy.nope.Thing",
        "toy",
        "",
        "toy..x",
        "a b.c",
    ],
)
def test_what_the_packages_do_not_define_is_not_found(make_package: MakePackage, target: str) -> None:
    make_package("toy", things="import os\nfrom os import system\nclass Thing: ...\n")
    assert signature(target, ("metarl_run", "toy")) is None


def test_imports_in_a_circle_end(make_package: MakePackage) -> None:
    make_package("toy", a="from toy.b import X\n", b="from toy.a import X\n")
    assert signature("toy.a.X", ("toy",)) is None


def test_a_component_of_the_project_itself_is_read() -> None:
    found = signature("metarl_run.learner.reinforce.Reinforce", ("metarl_run",))
    assert found is not None
    assert found.parameters["standardise"].kind is bool
    assert problem(found.parameters["discount"].kind, math.nan) is not None
    assert "metarl_run.learner.base.BaseLearner" in found.bases


COMPONENTS = """
from typing import ClassVar
from metarl_run.component import Component, field
from metarl_run.kinds import Count, Positive
class Shape(Component):
    size: Positive
    sides: Count = 4
    colours: ClassVar[tuple[str, ...]] = ("red",)
class Named(Component):
    word: str = field(alias="name")
class Both(Shape, Named):
    sides: Count = field(init=False, default=3)
    depth: Count = field(default=2)
class Own(Both):
    scale: float
    def __init__(self, *, diameter: float): ...
class PassedOn(Both):
    def __init__(self, *, size: Positive = 1.0, weight: float, **others): ...
"""


def test_the_fields_of_a_component_and_its_ancestors_are_arguments(make_package: MakePackage) -> None:
    found = read(make_package, COMPONENTS, "Both")
    assert {name: p.required for name, p in found.parameters.items()} == {"name": True, "size": True, "depth": False}
    assert problem(found.parameters["size"].kind, 0) is not None and found.parameters["name"].kind is str
    assert not found.takes_more and "metarl_run.component.Component" in found.bases


def test_a_component_with_a_constructor_of_its_own_has_its_arguments(make_package: MakePackage) -> None:
    assert list(read(make_package, COMPONENTS, "Own").parameters) == ["diameter"]


def test_what_a_constructor_passes_on_are_the_arguments_of_its_ancestor(make_package: MakePackage) -> None:
    found = read(make_package, COMPONENTS, "PassedOn")
    assert {name: p.required for name, p in found.parameters.items()} == {
        **{"name": True, "depth": False},
        **{"size": False, "weight": True},
    }
    assert not found.takes_more


@pytest.mark.parametrize("name", ["Shape", "Named", "Both", "Own", "PassedOn"])
def test_read_and_imported_a_component_takes_the_same(make_package: MakePackage, name: str) -> None:
    found = read(make_package, COMPONENTS, name)
    made = inspect.signature(getattr(importlib.import_module("toy.things"), name)).parameters
    assert {argument: p.required for argument, p in found.parameters.items()} == {
        argument: p.default is p.empty for argument, p in made.items()
    }
