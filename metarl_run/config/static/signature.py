"""Constructor arguments and capabilities of a `_target_`, read from its source text: torch is not imported for it.

`metarl_run.kinds` turns annotations into checks; here the same annotations are found without importing the module.
"""

import ast
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metarl_run.config.static.annotation import kind_of
from metarl_run.config.static.declaration import Declaration, declaration
from metarl_run.config.static.source import Module, dotted_name, find

COMPONENT = "metarl_run.component.Component"
SPECIFIERS = ("metarl_run.component.field", "dataclasses.field")


@dataclass(frozen=True)
class Parameter:
    """One constructor argument: what it accepts (None: anything), and whether it must be given."""

    kind: Any
    required: bool


@dataclass(frozen=True)
class Signature:
    """Static description of a class, which is not imported.

    Attributes:
        parameters: arguments by name.
        takes_more: other arguments may be accepted too: `**kwargs`, or a constructor outside the allowed packages.
        bases: dotted names of the class and of all classes that it is derived from.
        declared: its capabilities and advice.
    """

    parameters: Mapping[str, Parameter]
    takes_more: bool
    bases: tuple[str, ...]
    declared: Declaration


@functools.cache
def signature(target: str, packages: tuple[str, ...]) -> Signature | None:
    """The signature of the class `target`; None if `packages` define no such class."""
    match find(target, packages):
        case (source, ast.ClassDef() as node):
            return _of_class(source, node, packages)
    return None


def _of_class(source: Module, node: ast.ClassDef, packages: tuple[str, ...]) -> Signature:
    found = list(_lineage(source, node, packages))
    # A shared ancestor comes after all its children, as in Python's own order
    lineage = list(reversed(dict(reversed(found)).items()))
    known = [(home, definition) for _, place in lineage if place for home, definition in [place]]
    names = tuple(name for name, _ in lineage)
    parameters, takes_more = _parameters(known, names, packages)
    return Signature(parameters, takes_more, names, declaration(known))


def _parameters(
    lineage: Sequence[tuple[Module, ast.ClassDef]], names: Sequence[str], packages: tuple[str, ...]
) -> tuple[dict[str, Parameter], bool]:
    """The arguments of the constructor, of the nearest class that has one or of a component's fields."""
    for place, (home, definition) in enumerate(lineage):
        if f"{home.name}.{definition.name}" == COMPONENT:
            return _fields(lineage, packages), False
        init = next((s for s in definition.body if isinstance(s, ast.FunctionDef) and s.name == "__init__"), None)
        if init is not None:
            own, takes_more = _arguments(init, home, packages)
            if not takes_more or COMPONENT not in names:
                return own, takes_more
            passed_on, takes_more = _parameters(lineage[place + 1 :], names[place + 1 :], packages)
            return passed_on | own, takes_more
        if _is_dataclass(definition, home):
            return _fields([(home, definition)], packages), False
    return {}, len(lineage) < len(names)


def _lineage(
    source: Module, node: ast.ClassDef, packages: tuple[str, ...]
) -> Iterator[tuple[str, tuple[Module, ast.ClassDef] | None]]:
    """The class and its ancestors, depth first from the left; None for those outside the packages."""
    yield f"{source.name}.{node.name}", (source, node)
    for base in node.bases:
        name = dotted_name(base.value if isinstance(base, ast.Subscript) else base, source) or ""
        if name.partition(".")[0] in ("abc", "typing", "builtins"):
            continue
        match find(name, packages):
            case (home, ast.ClassDef() as ancestor):
                yield from _lineage(home, ancestor, packages)
            case _:
                yield name, None


def _arguments(
    function: ast.FunctionDef, source: Module, packages: tuple[str, ...]
) -> tuple[dict[str, Parameter], bool]:
    spec = function.args
    positional = [*spec.posonlyargs, *spec.args]
    with_default = len(positional) - len(spec.defaults)
    required = {argument.arg: place < with_default for place, argument in enumerate(positional)}
    required |= {
        argument.arg: default is None for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    }
    parameters = {
        argument.arg: Parameter(
            kind_of(argument.annotation, source, packages) if argument.annotation else None, required[argument.arg]
        )
        for argument in [*positional[1:], *spec.kwonlyargs]
    }
    return parameters, spec.kwarg is not None


def _is_dataclass(node: ast.ClassDef, source: Module) -> bool:
    calls = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return any(dotted_name(call, source) == "dataclasses.dataclass" for call in calls)


def _fields(lineage: Sequence[tuple[Module, ast.ClassDef]], packages: tuple[str, ...]) -> dict[str, Parameter]:
    """The annotated fields of the classes, ancestors' first, as `metarl_run.component` and dataclasses see them."""
    arguments: dict[str, tuple[str, Parameter] | None] = {}  # by attribute
    for source, node in reversed(lineage):
        for statement in node.body:
            match statement:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                    if "ClassVar" not in ast.unparse(annotation):
                        arguments[name] = _field(name, kind_of(annotation, source, packages), value, source)
    return dict(argument for argument in arguments.values() if argument is not None)


def _field(name: str, kind: Any, value: ast.expr | None, source: Module) -> tuple[str, Parameter] | None:
    """The argument that a field stands for; None if it is none."""
    if not isinstance(value, ast.Call) or dotted_name(value.func, source) not in SPECIFIERS:
        return name, Parameter(kind, value is None)
    options = {keyword.arg: keyword.value for keyword in value.keywords}
    match options.get("init"):
        case ast.Constant(value=False):
            return None
    match options.get("alias"):
        case ast.Constant(value=str(alias)):
            name = alias
    return name, Parameter(kind, not options.keys() & {"default", "default_factory"})
