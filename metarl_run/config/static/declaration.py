"""Capabilities that a class provides and requires, and advice on its arguments, declared as literals.

Capabilities, such as `discrete_actions`, are what components offer and need of each other. The literals are read from
source text: nothing is imported or evaluated.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from metarl_run.config.static.source import Module
from metarl_run.errors import ConfigError

Capabilities: TypeAlias = Sequence[str]
CapabilitiesIf: TypeAlias = Mapping[str, Mapping[object, Capabilities]]
Lineage: TypeAlias = Sequence[tuple[Module, ast.ClassDef]]


@dataclass(frozen=True)
class Declaration:
    """The class attributes of that name, each from the nearest class in the lineage that assigns it.

    Attributes:
        provides, requires: capabilities, whatever the arguments are.
        provides_if, requires_if: argument → value → capabilities, of a component configured with that value or with
            a list that holds it.
        advice: argument → the hint that goes with a refused value.
        sizes: `task`, `observation` or `parameters` → arguments and numbers whose product is a lower bound of how many
            numbers it consists of, see `metarl_run.config.size`.
        outcomes: outcome → reduction, of a task family.
        needs_labels: of an algorithm: it learns from the optimal actions in a dataset.
    """

    provides: Capabilities = ()
    requires: Capabilities = ()
    provides_if: CapabilitiesIf = field(default_factory=dict)
    requires_if: CapabilitiesIf = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, Sequence[str | int]] = field(default_factory=dict)
    outcomes: Mapping[str, str] | None = None
    needs_labels: bool = False

    def provided(self, arguments: Mapping[str, Any]) -> set[str]:
        """Capabilities that a component with these arguments provides."""
        return {*self.provides, *(capability for _, capability in _conditional(self.provides_if, arguments))}

    def required(self, arguments: Mapping[str, Any]) -> list[tuple[str | None, str]]:
        """Capabilities that a component with these arguments requires, each with the argument that makes it."""
        return [*((None, capability) for capability in self.requires), *_conditional(self.requires_if, arguments)]


def declaration(lineage: Lineage) -> Declaration:
    """Declaration of the classes of `lineage`, nearest first.

    Raises:
        ConfigError: if an attribute is not a literal of its form.
    """
    return Declaration(
        provides=_literal("provides", lineage, _is_capabilities, "tuple of strings", ()),
        requires=_literal("requires", lineage, _is_capabilities, "tuple of strings", ()),
        provides_if=_literal("provides_if", lineage, _is_capabilities_if, "{argument: {value: (string, …)}}", {}),
        requires_if=_literal("requires_if", lineage, _is_capabilities_if, "{argument: {value: (string, …)}}", {}),
        advice=_literal("advice", lineage, _is_words, "{argument: hint}", {}),
        outcomes=_literal("outcomes", lineage, _is_words_or_none, "{outcome: reduction}", {}),
        needs_labels=_literal("needs_labels", lineage, _is_bool, "True or False", False),
        sizes=_literal("sizes", lineage, _is_sizes, "{part: (argument or number, …)}", {}),
    )


def _conditional(words_if: CapabilitiesIf, arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for argument, by_value in words_if.items():
        for value, capabilities in by_value.items():
            if argument in arguments and _same(arguments[argument], value):
                yield from ((argument, capability) for capability in capabilities)


def _same(configured: object, value: object) -> bool:
    """Equality in which true is not 1; a list is the same as each of its entries."""
    if isinstance(configured, list):
        return any(_same(entry, value) for entry in configured)
    return configured == value and isinstance(configured, bool) == isinstance(value, bool)


def _literal(name: str, lineage: Lineage, is_right: Callable[[object], bool], form: str, default: Any) -> Any:
    for home, node in lineage:
        for statement in node.body:
            match statement:
                case (
                    ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value)
                    | ast.Assign(targets=[ast.Name(id=found)], value=value)
                ) if found == name:
                    try:
                        literal = ast.literal_eval(value)
                    except (ValueError, TypeError):  # an expression; a key that cannot be one
                        literal = None
                    if not is_right(literal):
                        got = ast.unparse(value)
                        raise ConfigError(f"{home.name}.{node.name}.{name}", f"must be a literal {form}, got {got}")
                    return literal
    return default


def _is_capabilities(literal: object) -> bool:
    return isinstance(literal, tuple | list) and all(isinstance(word, str) for word in literal)


def _is_capabilities_if(literal: object) -> bool:
    return isinstance(literal, dict) and all(
        isinstance(argument, str) and isinstance(by_value, dict) and all(map(_is_capabilities, by_value.values()))
        for argument, by_value in literal.items()
    )


def _is_bool(literal: object) -> bool:
    return isinstance(literal, bool)


def _is_words(literal: object) -> bool:
    return isinstance(literal, dict) and all(isinstance(word, str) for pair in literal.items() for word in pair)


def _is_words_or_none(literal: object) -> bool:
    return literal is None or _is_words(literal)


def _is_sizes(literal: object) -> bool:
    return isinstance(literal, dict) and all(
        isinstance(part, str) and isinstance(factors, tuple) and all(type(factor) in (str, int) for factor in factors)
        for part, factors in literal.items()
    )
