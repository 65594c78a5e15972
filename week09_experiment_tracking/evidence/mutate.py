"""Mutation testing: small faults made by a program, one at a time, to see which of them the tests notice.

A mutant differs from the code in one place of its syntax tree. The operators are the usual ones (Jia & Harman 2011):
another arithmetic, comparing or logical operator, another constant, a condition that always or never holds, a
statement that is left out, `min` for `max`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

SWAPS = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitOr: [ast.BitAnd],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
NAMES = {"min": "max", "max": "min"}


@dataclass(frozen=True)
class Mutant:
    """One fault: its number, the top-level function or class, the line, old and new text, the whole source."""

    number: int
    about: str
    line: int
    old: str
    new: str
    source: str

    def __str__(self) -> str:
        return f"{self.number}: {self.about}, line {self.line}: {self.old}  ->  {self.new}"


def mutants(source: str, about: tuple[str, ...] = ()) -> list[Mutant]:
    """All mutants of a module's source, or of the functions and classes named in `about`, in order."""
    tree, found = ast.parse(source), []
    _without_docstrings(tree)
    for top in tree.body:
        if isinstance(top, ast.FunctionDef | ast.ClassDef) and (not about or top.name in about):
            for node in list(ast.walk(top)):
                for old, new, fields in _changes(node):
                    # The change is made in place, written out, and taken back: nodes keep their identity.
                    line, before = getattr(node, "lineno", top.lineno), ast.unparse(node)
                    kept = dict(node.__dict__)
                    node.__dict__.update(fields)
                    if ast.unparse(node) != before:
                        found.append(
                            (top.name, line, old or before, new or ast.unparse(node), ast.unparse(tree))
                        )
                    node.__dict__.clear()
                    node.__dict__.update(kept)
    return [Mutant(number, *rest) for number, rest in enumerate(sorted(found, key=lambda m: m[1]))]


def _without_docstrings(tree: ast.Module) -> None:
    """Take the docstrings out: a constant in one is no code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]


def _changes(node: ast.AST) -> Iterator[tuple[str, str, dict]]:
    """The ways to change a node: words for the old and the new text ("": the node's own), fields with new values."""
    match node:
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            yield from (("", "", {"op": other()}) for other in SWAPS.get(type(op), ()))
        case ast.Compare(ops=[op]):
            yield from (("", "", {"ops": [other()]}) for other in SWAPS.get(type(op), ()))
        case ast.BoolOp(op=op):
            yield "", "", {"op": ast.Or() if isinstance(op, ast.And) else ast.And()}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            pass  # the constant below has this mutant
        case ast.UnaryOp(op=ast.USub() | ast.Invert() | ast.Not() as op):
            others = {ast.USub: ast.UAdd, ast.Invert: ast.Not, ast.Not: ast.Invert}
            yield "", "", {"op": others[type(op)]()}
        case ast.Constant(value=bool() as value):
            yield "", "", {"value": not value}
        case ast.Constant(value=int() | float() as value):
            yield "", "", {"value": value + 1}
            if value:
                yield "", "", {"value": -value}
        case ast.Name(id=name) if name in NAMES:
            yield "", "", {"id": NAMES[name]}
        case ast.If():
            for value in (True, False):
                yield f"if {ast.unparse(node.test)}", f"if {value}", {"test": ast.Constant(value)}
    for field in ("body", "orelse"):
        statements = getattr(node, field, None)
        if isinstance(statements, list):
            for i, statement in enumerate(statements):
                if isinstance(statement, ast.Expr | ast.Assign | ast.AugAssign):
                    left = [*statements[:i], ast.Pass(), *statements[i + 1 :]]
                    yield ast.unparse(statement), "(left out)", {field: left}
