"""Modules as source text: where names are defined, found without importing anything.

Importing a component imports torch, which takes seconds, and runs code that a configuration names. Reading the text
with `ast` does neither. Only the packages that are allowed are ever looked into.
"""

import ast
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import metarl_run

Definition: TypeAlias = ast.ClassDef | ast.FunctionDef | ast.expr


@dataclass(frozen=True)
class Module:
    """One module's text.

    Attributes:
        name: dotted name.
        definitions: top-level classes, functions and assigned expressions by name.
        imports: dotted origin of every name imported at the top level.
    """

    name: str
    definitions: dict[str, Definition]
    imports: dict[str, str]


@functools.cache
def module(name: str) -> Module | None:
    """The module called `name`; None if there is none."""
    path = _file(name)
    if path is None:
        return None
    found = Module(name, {}, {})
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for statement in _top_level(ast.parse(path.read_bytes(), str(path))):
        _note(statement, found, package)
    return found


def origin(dotted: str, packages: Sequence[str]) -> str:
    """The name under which `dotted` is defined: imports are followed as long as they stay inside `packages`."""
    for _ in range(20):  # re-exports may form a circle
        owner, _, name = dotted.rpartition(".")
        source = module(owner) if owner.partition(".")[0] in packages else None
        if source is None or name in source.definitions or name not in source.imports:
            break
        dotted = source.imports[name]
    return dotted


def find(dotted: str, packages: Sequence[str]) -> tuple[Module, Definition] | None:
    """Module and definition of `dotted`, imports followed; None unless inside one of `packages`."""
    owner, _, name = origin(dotted, packages).rpartition(".")
    source = module(owner) if owner.partition(".")[0] in packages else None
    return (source, source.definitions[name]) if source and name in source.definitions else None


def dotted_name(node: ast.expr, source: Module) -> str | None:
    """The full dotted name that a `Name` or `Attribute` stands for in `source`; None for other expressions."""
    if isinstance(node, ast.Attribute):
        owner = dotted_name(node.value, source)
        return owner and f"{owner}.{node.attr}"
    if not isinstance(node, ast.Name):
        return None
    if node.id in source.definitions:
        return f"{source.name}.{node.id}"
    return source.imports.get(node.id, f"builtins.{node.id}")


def _file(name: str) -> Path | None:
    """The file of a module; only the top-level package is looked up, which imports nothing."""
    top, *rest = name.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        return None
    folders: Sequence[str]
    if top == "metarl_run":
        folders = metarl_run.__path__
    else:
        spec = importlib.util.find_spec(top)
        if spec is None:
            return None
        if spec.submodule_search_locations is None:
            return Path(spec.origin) if not rest and spec.origin and spec.origin.endswith(".py") else None
        folders = list(spec.submodule_search_locations)
    bases = [Path(folder, *rest) for folder in folders]
    candidates = [file for base in bases for file in (base / "__init__.py", base.with_suffix(".py"))]
    return next((file for file in candidates if file.is_file()), None)


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements at the top level, those under `if` and `try` included."""
    pending = list(tree.body)
    while pending:
        statement = pending.pop(0)
        if isinstance(statement, ast.If | ast.Try):
            pending[:0] = statement.body + statement.orelse
        yield statement


def _note(statement: ast.stmt, found: Module, package: str) -> None:
    match statement:
        case ast.ClassDef() | ast.FunctionDef():
            found.definitions[statement.name] = statement
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value)
            | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
        ):
            found.definitions[name] = value
        case ast.Import(names=names):
            for alias in names:
                found.imports[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        case ast.ImportFrom(names=names):
            origin = statement.module or ""
            if statement.level:  # relative: one level is the package itself
                above = package.split(".")[: len(package.split(".")) - statement.level + 1]
                origin = ".".join([*above, origin] if origin else above)
            for alias in names:
                found.imports[alias.asname or alias.name] = f"{origin}.{alias.name}"
        case _:
            pass
