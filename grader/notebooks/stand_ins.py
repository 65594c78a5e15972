"""Modules that stand in for a solution and are none: each does what no check may pass.

They are made of the reference, so that they have its names, signatures, shapes and dtypes. See `STAND_INS` for
the kinds; a cached answer needs no module, see `grader.steps.trials`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from grader.course import Part
from grader.notebooks import standing_in
from grader.notebooks.source import solution_regions, strip_solutions

NUMBERS = {"zeros": 0, "constant": 1}
_NEVER_ANSWER = ("__init__", "__enter__", "__exit__")


def write(part: Part, folder: Path, kind: str, refuse: bool = False) -> None:
    """Write to `folder` the modules of `part` as a stand-in of this kind, or as the `reference`.

    With `refuse` they fail where the stand-in would answer for the reference, which tells whether a check that
    passed it has met it at all. Raises CourseError where a reference is no valid Python.
    """
    folder.mkdir(parents=True)
    for name in part.files:
        path = part.source / name
        text = path.read_text(encoding="utf-8")
        (folder / name).write_text(stand_in(text, str(path), kind, refuse), encoding="utf-8")
    if kind in NUMBERS:
        (folder / "standing_in.py").write_text(Path(standing_in.__file__).read_text(encoding="utf-8"))


def stand_in(text: str, name: str, kind: str, refuse: bool = False) -> str:
    """Return the stand-in of this kind for the reference module `text`."""
    if kind == "reference":
        return text
    functions = dict(_functions(text, name))
    if kind in NUMBERS:
        names = [function for function in functions if function.rpartition(".")[2] not in _NEVER_ANSWER]
        return f"{text}\nimport standing_in\n\nstanding_in.replace(__name__, {names}, {NUMBERS[kind]}, {refuse})\n"
    if refuse:
        return strip_solutions(text, name)
    first = functions if kind == "input" else {}
    return strip_solutions(text, name, lambda function: f"return {first.get(function) or 'None'}")


def _functions(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, first argument) of each function with a solution, no nested one."""
    regions = solution_regions(text, name)

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                end = child.end_lineno or child.lineno
                if any(child.lineno <= begin < end for begin, _ in regions):
                    arguments = [argument.arg for argument in (*child.args.posonlyargs, *child.args.args)]
                    named = [one for one in arguments if one not in ("self", "cls", "ctx")]
                    first = named[0] if named and child.name not in _NEVER_ANSWER else ""
                    yield f"{prefix}{child.name}", first

    yield from visit(ast.parse(text), "")
