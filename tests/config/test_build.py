"""Objects are built from configurations, inner ones first, with what is offered; the configuration stays as it is."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from metarl_run.config.build import build, locate
from metarl_run.errors import ConfigError

THINGS = """
from metarl_run.kinds import Positive, checked
class Inner:
    @checked
    def __init__(self, *, lr: Positive) -> None:
        self.lr = lr
class Outer:
    @checked
    def __init__(self, *, network: object, inner: Inner, options: list) -> None:
        self.network, self.inner, self.options = network, inner, options
class Grumpy:
    advice = {"limits": "ask tomorrow"}
    def __init__(self, *, mood: str, limits: dict) -> None:
        raise ValueError(mood)
def make(*, size: int) -> list:
    return [size]
"""

MakePackage = Callable[..., str]


@pytest.fixture
def toy(make_package: MakePackage) -> str:
    return make_package("toy", things="import os\nfrom os import system\n" + THINGS)


def outer(toy: str) -> dict[str, Any]:
    inner = {"_target_": f"{toy}.things.Inner", "lr": 0.5}
    return {"_target_": f"{toy}.things.Outer", "inner": inner, "options": [{"a": (1, 2)}, inner]}


def test_inner_objects_are_built_and_offers_are_taken_by_name(toy: str) -> None:
    config = outer(toy)
    before = copy.deepcopy(config)
    network = object()
    made = build(config, {"network": network, "learner": 3}, plugins=[toy], where="algo")
    assert made.network is network
    assert made.inner.lr == 0.5
    assert made.options[0] == {"a": [1, 2]}
    assert made.options[1].lr == 0.5
    assert config == before


def test_what_is_built_shares_nothing_with_the_configuration(toy: str) -> None:
    config = outer(toy)
    build(config, {"network": None}, plugins=[toy], where="algo").options[0]["a"].append(9)
    assert config["options"][0]["a"] == (1, 2)


def test_what_the_configuration_gives_comes_before_what_is_offered(toy: str) -> None:
    config = outer(toy) | {"network": "mine"}
    assert build(config, {"network": "theirs"}, plugins=[toy], where="algo").network == "mine"


def test_functions_are_no_targets(toy: str) -> None:
    with pytest.raises(ConfigError, match="must be a class of metarl_run"):
        build({"_target_": f"{toy}.things.make", "size": 3}, {}, plugins=[toy], where="env")


def test_a_refusing_constructor_is_told_by_its_key(toy: str) -> None:
    config = outer(toy)
    config["inner"]["lr"] = -1
    with pytest.raises(ConfigError, match=r"^error: algo\.inner\.lr: must be a finite number > 0, got -1$"):
        build(config, {"network": None}, plugins=[toy], where="algo")
    grumpy = {"_target_": f"{toy}.things.Grumpy", "mood": "limits.low must be smaller", "limits": {}}
    with pytest.raises(ConfigError, match=r"^error: env\.limits\.low: must be smaller\nhint: ask tomorrow$"):
        build(grumpy, {}, plugins=[toy], where="env")
    with pytest.raises(ConfigError, match=r"^error: env: I do not want to$"):
        build(grumpy | {"mood": "I do not want to"}, {}, plugins=[toy], where="env")


@pytest.mark.parametrize(
    "target", ["os.system", "toy.things.system", "toy.things.os.system", "toy.things.Nope", "toy.no.X", "toy"]
)
def test_only_what_the_packages_define_is_called(toy: str, target: str) -> None:
    with pytest.raises(ConfigError, match=r"^error: algo\._target_: "):
        locate(target, [toy], "algo._target_")


def test_a_package_that_was_not_named_is_not_even_imported(toy: str) -> None:
    with pytest.raises(ConfigError, match="must be in metarl_run or a package named in plugins"):
        locate("toy.things.make", [], "algo._target_")


def test_a_module_that_is_missing_comes_with_the_command_that_installs_it(make_package: MakePackage) -> None:
    toy = make_package("toy", things="import no_such_module.part\n", other="import toy.gone\n")
    for module, hint in (("things", "pip install no_such_module"), ("other", None)):
        with pytest.raises(ConfigError, match=r"^error: algo\._target_: cannot be imported: No module") as caught:
            locate(f"{toy}.{module}.Thing", [toy], "algo._target_")
        assert caught.value.hint == hint
