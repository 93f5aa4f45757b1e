"""Only classes derived from a place's base can be named there: tried with everything that the package defines."""

import ast
import copy
import functools
from pathlib import Path

import pytest

from metarl_run.config.compose import compose_points
from metarl_run.config.point import Point
from metarl_run.config.static.signature import signature
from metarl_run.config.validation import BASES, validate
from metarl_run.errors import ConfigError
from metarl_run.folders import PACKAGE

OPTIMIZER = "metarl_run.algo.meta_optimizer.base.MetaOptimizer"
PLACES = {
    **{(group,): base for group, base in BASES.items() if group != "logger"},
    ("logger", "x"): BASES["logger"],
    ("algo", "meta_optimizer"): OPTIMIZER,
}
"""Keys at which a component stands, and its base."""

OTHERS = [("env", "horizon"), ("logger", "console", "plain_every")]
"""Keys at which a value stands."""


def defined(path: Path) -> list[str]:
    """Dotted names of the functions and classes of a file."""
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


EVERYTHING = [name for path in sorted(PACKAGE.rglob("*.py")) for name in defined(path)]


@functools.cache
def usual() -> Point:
    return compose_points([]).points[0]


def refused(place: tuple[str, ...], target: str, **arguments: object) -> str:
    """The reason why a target is refused at a place; empty if it is not."""
    config = copy.deepcopy(usual().config)
    node = config
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = {"_target_": target, **arguments}
    try:
        validate(config, usual().choices)
    except ConfigError as error:
        return f"{error.where}: {error.reason}"
    return ""


DECLARES_OTHERWISE = ("metarl_run.config.static.declaration.Declaration.provides_if: must be a literal",)
"""The record of capabilities has fields of the names that components declare them by."""


def bases_of(target: str) -> tuple[str, ...]:
    try:
        taken = signature(target, ("metarl_run",))
    except ConfigError:
        return ()
    return () if taken is None else taken.bases


def tried(place: tuple[str, ...]) -> list[str]:
    """Everything at one place, and at the others one of each set of bases: a place asks for nothing else."""
    return EVERYTHING if place == ("algo",) else list({bases_of(target): target for target in EVERYTHING}.values())


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_at_a_components_place_nothing_else_is_accepted(place):
    """A class of the right base may still lack arguments; anything else is refused for what it is."""
    base, path = PLACES[place], ".".join(place)
    derived = 0
    for target in tried(place):
        if base in bases_of(target):
            derived += 1
            continue
        reason = refused(place, target)
        right = (f"{path}._target_: must be a ", f"{path}._target_: there is no class", *DECLARES_OTHERWISE)
        assert reason.startswith(right), (target, reason)
    assert derived > 0


@pytest.mark.parametrize("place", OTHERS, ids=".".join)
def test_at_a_values_place_nothing_is_built(place):
    for target in tried(place):
        assert refused(place, target).startswith(".".join(place)), target


@pytest.mark.parametrize("place", [("learner", "discount"), ("env", "meta_train", "gravity"), ("network", "hidden")])
def test_a_target_in_a_list_or_mapping_is_refused_too(place):
    for target in ("metarl_run.cli.train.main", "metarl_run.network.mlp.MLP", "os.system"):
        assert refused(place, target, argv=["seed=1"])


def test_the_command_itself_is_no_component():
    reason = refused(("env",), "metarl_run.cli.train.main", argv=["plugins=[subprocess]"])
    assert reason == "env._target_: there is no class metarl_run.cli.train.main"
