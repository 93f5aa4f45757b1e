"""Mutants of a source file: one operator, constant, argument or statement is changed, the rest of the text is kept.

Annotations, decorators, assertions (including `strict=` of `zip`) and strings are never mutated; nor are plain
assignments, without which a name would be undefined.
"""

import ast
import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.Pow: "*",
    ast.FloorDiv: "*",
    ast.Mod: "//",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Attributes:
        line: first line of the change.
        kind: kind of the change.
        text: the whole file.
    """

    line: int
    kind: str
    text: str

    def diff(self, original: str) -> str:
        """Lines that differ, marked `-` and `+`."""
        lines = difflib.unified_diff(original.splitlines(), self.text.splitlines(), lineterm="", n=0)
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def mutants(text: str) -> list[Mutant]:
    """All mutants of a file, ordered by line."""
    tree = ast.parse(text)
    position = Positions(text)
    found = [
        Mutant(node.lineno, kind, text[:start] + new + text[end:])
        for node in mutable(tree)
        for kind, (start, end), new in changes(node, position)
    ]
    return sorted({mutant.text: mutant for mutant in found}.values(), key=lambda m: m.line)


class Positions:
    """Character offsets of nodes in the text; Python counts columns in bytes of UTF-8."""

    def __init__(self, text: str) -> None:
        self.text, self.lines = text, list(io.StringIO(text))
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def __call__(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def source(self, node: ast.expr | ast.stmt) -> str:
        """Source text of the node."""
        start, end = self(node)
        return self.text[start:end]

    def between(self, left: ast.expr, right: ast.expr) -> tuple[int, int]:
        """Range of the text between two operands, which holds the operator."""
        return self(left)[1], self(right)[0]

    def _at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())


def mutable(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Descendants of `node` that may be mutated."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, ast.Assert):
            continue
        if isinstance(node, ast.keyword) and node.arg == "strict":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.expr | ast.stmt):
                yield child
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from mutable(child)


def changes(node: ast.expr | ast.stmt, position: Positions) -> Iterator[tuple[str, tuple[int, int], str]]:
    """Possible changes of a node: kind, range of the old text, and new text."""
    match node:
        case ast.Compare(left=left, ops=operators, comparators=right):
            for before, operator, after in zip([left, *right], operators, right, strict=False):
                for new in COMPARISONS[type(operator)]:
                    yield "comparison", position.between(before, after), operators_text(position, before, after, new)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in OPERATORS:
            new = OPERATORS[type(operator)]
            yield "arithmetic", position.between(left, right), operators_text(position, left, right, new)
        case ast.AugAssign(target=target, op=operator, value=value) if type(operator) in OPERATORS:
            new = f"{OPERATORS[type(operator)]}="
            yield "arithmetic", position.between(target, value), operators_text(position, target, value, new)
            yield "statement", position(node), "pass"
        case ast.BoolOp(op=operator, values=[left, right, *_]):
            new = "or" if isinstance(operator, ast.And) else "and"
            yield "logic", position.between(left, right), operators_text(position, left, right, new)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield "sign", position(node), position.source(operand)
        case ast.Constant(value=bool(value)):
            yield "constant", position(node), str(not value)
        case ast.Constant(value=int(value)):
            yield "constant", position(node), str(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant", position(node), str(2 * value or 1.0)
        case ast.Call(args=[first, second, *_]) if not isinstance(first, ast.Starred) | isinstance(second, ast.Starred):
            old = position.text[slice(*position.between(first, second))]
            new = position.source(second) + old + position.source(first)
            yield "arguments", (position(first)[0], position(second)[1]), new
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            yield "statement", position(node), "pass"
        case ast.Assign(targets=[ast.Subscript()]):
            yield "statement", position(node), "pass"
        case ast.If(test=test) | ast.IfExp(test=test):
            yield "condition", position(test), f"not ({position.source(test)})"


def operators_text(position: Positions, left: ast.expr, right: ast.expr, new: str) -> str:
    """Text between two operands with another operator; brackets and line breaks are kept."""
    old = position.text[slice(*position.between(left, right))]
    kept_before = old[: len(old) - len(old.lstrip(" )\n"))]
    kept_after = old[len(old.rstrip(" (\n")) :]
    return f"{kept_before or ' '}{new}{kept_after or ' '}"
