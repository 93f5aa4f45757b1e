"""From the text of an annotation to the kind of value it accepts, without evaluating it.

Understood are the plain types, `Literal`, `Optional`, `X | None`, `Annotated` with the checks of `metarl_run.kinds`,
names assigned to any of these, and classes, which stand for components. Everything else accepts any value.
"""

import ast
import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_origin

from metarl_run import kinds
from metarl_run.config.static.source import Module, dotted_name, find, origin

PLAIN = {"builtins.float": float, "builtins.int": int, "builtins.str": str, "builtins.bool": bool}


@dataclass(frozen=True)
class Component:
    """The kind of an argument that is an object, built from a mapping with `_target_`.

    Attributes:
        base: the class, or what its class must be derived from.
        optional: null will do, too.
    """

    base: str
    optional: bool = False


@dataclass(frozen=True)
class Components:
    """The kind of an argument that is a list or a mapping of components.

    Attributes:
        base: of each.
    """

    base: str


COLLECTIONS = ("builtins.list", "builtins.dict", "collections.abc.Sequence", "collections.abc.Mapping")


def kind_of(node: ast.expr, source: Module, packages: Sequence[str]) -> Any:
    """The kind that an annotation in `source` stands for; None accepts anything."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str() as text):
            return kind_of(ast.parse(text, mode="eval").body, source, packages)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _union([kind_of(left, source, packages), kind_of(right, source, packages)])
        case ast.Name() | ast.Attribute():
            return _named(node, source, packages)
        case ast.Subscript(value=value, slice=index):
            entries = index.elts if isinstance(index, ast.Tuple) else [index]
            match origin(dotted_name(value, source) or "", packages):
                case "typing.Literal":
                    return Literal[tuple(ast.literal_eval(entry) for entry in entries)]
                case "typing.Optional":
                    return _union([kind_of(entries[0], source, packages), type(None)])
                case "typing.Annotated":
                    checks = [check for entry in entries[1:] if (check := _check(entry, source, packages)) is not None]
                    inner = kind_of(entries[0], source, packages)
                    return Annotated[(inner if get_origin(inner) is Annotated else Any, *checks)] if checks else inner
                case name if name in COLLECTIONS:
                    inner = kind_of(entries[-1], source, packages)
                    return Components(inner.base) if isinstance(inner, Component) else None
    return None


def _named(node: ast.expr, source: Module, packages: Sequence[str]) -> Any:
    name = dotted_name(node, source) or ""
    if name in PLAIN:
        return PLAIN[name]
    if name.startswith("metarl_run.kinds."):
        return getattr(kinds, name.rpartition(".")[2], None)
    match find(name, packages):
        case (home, ast.ClassDef(name=class_name)):
            return Component(f"{home.name}.{class_name}")
        case (home, ast.expr() as alias):
            return kind_of(alias, home, packages)
    return None


def _union(options: list[Any]) -> Any:
    """One kind that accepts what any of them accepts, as far as that can be expressed."""
    if None in options:
        return None
    components = [option for option in options if isinstance(option, Component)]
    if components:
        others = [option for option in options if option is not type(None)]
        return Component(components[0].base, optional=len(others) < len(options)) if len(others) == 1 else None
    return functools.reduce(operator.or_, options)


def _check(node: ast.expr, source: Module, packages: Sequence[str]) -> Any:
    """The check that `Distributions("gravity")` and the like construct; None for anything that is not of `kinds`."""
    if not isinstance(node, ast.Call) or not (dotted_name(node.func, source) or "").startswith("metarl_run.kinds."):
        return None
    make = getattr(kinds, (dotted_name(node.func, source) or "").rpartition(".")[2])
    named = {keyword.arg: _argument(keyword.value, source, packages) for keyword in node.keywords if keyword.arg}
    return make(*(_argument(argument, source, packages) for argument in node.args), **named)


def _argument(node: ast.expr, source: Module, packages: Sequence[str]) -> Any:
    """A literal, or a kind given by name."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        return kind_of(node, source, packages)
    return ast.literal_eval(node)
