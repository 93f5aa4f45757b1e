"""What one chosen component requires, another must provide; the refusal names both keys and what to do."""

import ast
import copy
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from metarl_run.config.capability import PHRASES
from metarl_run.config.compose import compose_points
from metarl_run.config.static.signature import Signature, signature
from metarl_run.config.validation import validate
from metarl_run.errors import ConfigError
from metarl_run.folders import GROUPS, PACKAGE

MakePackage = Callable[..., str]
CHOICES = {"env": "cartpole_family", "learner": "reinforce", "network": "mlp", "algo": "mine", "logger": "files"}
OFFERS = {
    "env=sea": {"water", "fish"},
    "env=lake": {"water"},
    "env=bath": {"water"},
    "env=pond": {"water"},
    "network=net": {"mesh"},
    "env=harbour": {"mesh"},
}
ALGO = """
from typing import Literal
from metarl_run.algo.base import MetaAlgorithm
from metarl_run.kinds import Count
class Piece: ...
class Part(Piece):
    requires = ("tabular",)
    requires_if = {"kind": {"wet": ("water",)}}
    def __init__(self, *, kind: Literal["wet", "dry"]) -> None: ...
class Pump(Piece):
    provides = ("water", "tabular")
    def __init__(self) -> None: ...
class Mine(MetaAlgorithm):
    requires_if = {
        "mode": {"swim": ("water",), "dive": ("water", "fish"), "walk": ("discrete_actions",), "net": ("mesh",)},
        "deep": {True: ("water",)},
        "number": {3: ("magic",)},
    }
    provides_if = {"mode": {"rain": ("water",)}, "number": {7: ("magic",)}}
    advice = {"number": "one is plenty"}
    def __init__(
        self, *, mode: Literal["swim", "dive", "walk", "rain", "net"], deep: bool, number: Count, parts: list[Piece]
    ) -> None: ...
"""
RAIN = "algo.mode=rain"


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    return compose_points(["logger=files"]).points[0].config


@pytest.fixture
def run_with(composed: dict[str, Any], make_package: MakePackage) -> Callable[..., None]:
    """Validate a run of the algorithm above with these arguments."""
    toy = make_package("toy", algo=ALGO)

    def check(offers: Mapping[str, Set[str]] | None = None, **arguments: Any) -> None:
        config = copy.deepcopy(composed)
        config["plugins"] = [toy]
        usual = {"mode": "walk", "deep": False, "number": 1, "parts": []}
        config["algo"] = {"_target_": "toy.algo.Mine", **usual, **arguments}
        validate(config, CHOICES, lambda: OFFERS if offers is None else offers)

    return check


def told(check: Callable[..., None], **arguments: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(**arguments)
    return str(caught.value).splitlines()


def test_a_value_that_requires_nothing_or_what_is_there_will_do(run_with: Callable[..., None]) -> None:
    run_with()
    run_with(mode="rain")
    run_with(mode="rain", deep=True)  # provides itself what it requires


def test_a_value_that_requires_what_nobody_provides_is_told_with_both_keys(run_with: Callable[..., None]) -> None:
    assert told(run_with, mode="dive") == [
        "error: algo.mode: dive requires water, which env=cartpole_family and algo=mine do not provide",
        f"hint: {RAIN} or env=sea provides it; or algo.mode=walk",  # only the sea has fish, too
    ]
    assert told(run_with, deep=True) == [
        "error: algo.deep: true requires water, which env=cartpole_family and algo=mine do not provide",
        f"hint: {RAIN} or env=sea or env=lake or … provides it; or algo.deep=false",
    ]
    assert told(run_with, mode="net") == [
        "error: algo.mode: net requires mesh, which env=cartpole_family and network=mlp do not provide",
        "hint: network=net or env=harbour provides it; or algo.mode=walk",
    ]


def test_a_hint_offers_no_value_that_would_be_refused_as_well(run_with: Callable[..., None]) -> None:
    """Walking would do, were it not for `deep`."""
    assert told(run_with, mode="swim")[1].endswith("provides it; or algo.mode=walk")
    assert told(run_with, mode="swim", deep=True)[1].endswith("provides it")


def test_without_any_provider_that_is_said(run_with: Callable[..., None]) -> None:
    assert told(run_with, number=3) == [
        "error: algo.number: 3 requires magic, which algo=mine does not provide",
        "hint: algo.number=7 provides it",
    ]
    assert told(run_with, mode="net", offers={}) == [
        "error: algo.mode: net requires mesh, which no chosen component provides",
        "hint: algo.mode=walk",
    ]


def part(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"toy.algo.{name}", **arguments}


def test_components_inside_components_count_and_are_named_by_key_and_class(run_with: Callable[..., None]) -> None:
    tabular = {"env=grid": {"tabular"}}
    assert told(run_with, parts=[part("Part", kind="dry")], offers=tabular) == [
        "error: algo.parts.0: Part requires a tabular family, which env=cartpole_family does not provide",
        "hint: env=grid provides it",
    ]
    run_with(parts=[part("Part", kind="wet"), part("Pump")])
    assert told(run_with, parts=[part("Pump"), part("Part", kind="damp")])[0].startswith(
        "error: algo.parts.1.kind: must be one of wet, dry with algo=mine"
    )


def test_a_nested_argument_is_named_too(composed: dict[str, Any], make_package: MakePackage) -> None:
    text = ALGO.replace('requires = ("tabular",)', "requires = ()").replace("parts: list[Piece]", "part: Part")
    config = copy.deepcopy(composed)
    config["plugins"] = [make_package("toy", algo=text)]
    config["algo"] = part("Mine", mode="walk", deep=False, number=1, part=part("Part", kind="wet"))
    with pytest.raises(ConfigError) as caught:
        validate(config, CHOICES, lambda: {"env=sea": {"water"}})
    assert str(caught.value).splitlines() == [
        "error: algo.part.kind: wet requires water, which env=cartpole_family and algo=mine do not provide",
        f"hint: {RAIN} or env=sea provides it; or algo.part.kind=dry",
    ]


def test_a_refused_value_comes_with_its_option_and_the_advice_of_its_class(run_with: Callable[..., None]) -> None:
    assert told(run_with, number=0) == [
        "error: algo.number: must be an integer >= 1 with algo=mine, got 0",
        "hint: one is plenty",
    ]
    assert told(run_with, deep=0) == ["error: algo.deep: must be true or false with algo=mine, got 0"]


# --- Whole command lines ---


def refused(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose_points(["logger=files", *argv])
    return str(caught.value)


def test_options_are_offered_for_what_they_provide_as_configured(tmp_path: Path, make_package: MakePackage) -> None:
    make_package(
        "toy",
        learner="""
from metarl_run.learner.reinforce import Reinforce
class Mine(Reinforce):
    provides = ()
    provides_if = {"colour": {"red": ("heat",)}}
    def __init__(self, *, colour: str): ...
""",
        algo="""
from metarl_run.algo.random import Random
class Mine(Random):
    requires = ("heat",)
""",
    )
    (tmp_path / "conf" / "learner").mkdir(parents=True)
    (tmp_path / "conf" / "algo").mkdir()
    learners = {
        "blue": "_target_: toy.learner.Mine\ncolour: blue\n",
        "red": "_target_: toy.learner.Mine\ncolour: red\n",
        "reddish": "defaults: [blue, _self_]\ncolour: red\n",
        "bluish": "defaults: [red, _self_]\ncolour: blue\n",
        "round": "defaults: [round]\n",
        "broken": "_target_: [\n",
        "foreign": "_target_: os.system\n",
    }
    for name, text in learners.items():
        (tmp_path / "conf" / "learner" / f"{name}.yaml").write_text(text)
    (tmp_path / "conf" / "algo" / "mine.yaml").write_text("_target_: toy.algo.Mine\n")
    given = [f"--config-dir={tmp_path / 'conf'}", "plugins=[toy]", "algo=mine"]
    assert refused(*given) == (
        "error: algo: mine requires heat, which learner=reinforce does not provide\n"
        "hint: learner=red or learner=reddish provides it"
    )
    assert refused(*given, "learner=bluish") == (
        "error: algo: mine requires heat, which learner=bluish does not provide\n"
        "hint: learner.colour=red or learner=red or learner=reddish provides it"
    )
    compose_points([*given, "logger=files", "learner=reddish"])


def test_a_table_needs_a_tabular_family() -> None:
    line, hint = refused("network=table").splitlines()
    assert line == "error: network: table requires a tabular family, which env=cartpole_family does not provide"
    assert hint.startswith("hint: env=")


# --- The project's own declarations ---


def declarations() -> dict[str, tuple[Signature, set[str]]]:
    """Every class in a module of a component by its dotted name, with the attributes that it assigns itself."""
    found = {}
    for path in (path for group in GROUPS for path in sorted((PACKAGE / group).glob("*.py"))):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                name = f"metarl_run.{path.parent.name}.{path.stem}.{node.name}"
                taken = signature(name, ("metarl_run",))
                assert taken is not None
                targets = [s.target for s in node.body if isinstance(s, ast.AnnAssign)]
                found[name] = (taken, {target.id for target in targets if isinstance(target, ast.Name)})
    return found


def test_conditions_and_advice_are_about_arguments_and_values_that_exist() -> None:
    """Otherwise they would never hold, and nobody would notice."""
    everything = declarations()
    checked = 0
    for name, (taken, assigned) in everything.items():
        declared = taken.declared
        heirs = [heir for heir, _ in everything.values() if name in heir.bases]
        for attribute in assigned & {"requires_if", "provides_if", "advice"}:
            for argument, by_value in getattr(declared, attribute).items():
                kinds = [heir.parameters[argument].kind for heir in heirs if argument in heir.parameters]
                assert kinds, f"{name}.{attribute}: neither it nor its heirs have an argument {argument}"
                if attribute != "advice" and get_origin(kinds[0]) is Literal:
                    assert set(by_value) <= set(get_args(kinds[0])), f"{name}.{attribute}[{argument!r}]"
                checked += 1
    assert checked


def test_every_word_that_is_required_has_a_phrase() -> None:
    required: set[str] = set()
    for taken, _ in declarations().values():
        declared = taken.declared
        required.update(declared.requires, *(w for by in declared.requires_if.values() for w in by.values()))
    assert required
    assert required <= set(PHRASES)
