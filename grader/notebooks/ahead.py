"""What is done once for all submissions of a plain notebook, ahead of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from grader.notebooks.template import Template, grade_id, is_answer, without
from grader.notebooks.told import words_of

if TYPE_CHECKING:
    from grader.lean import nbformat

_EVERYWHERE = {"numpy", "torch"}  # which every worker has


def modules_of(
    template: Template, cells: Sequence[nbformat.NotebookNode], imported: Sequence[list[str]]
) -> list[str]:
    """Return the modules that workers may have from the start, of those that each cell of the reference `imported`.

    A student's code can see what its worker has. Of what solutions and hidden tests import, that is no more than
    modules of packages that students read of anyway.
    """
    stubs = {grade_id(cell): cell.source for cell in template.cells if is_answer(cell)}
    told = [
        stubs.get(grade_id(cell), without(cell.source, template.hidden, template.scheme)) for cell in cells
    ]
    known = set().union(*map(words_of, told))
    hidden = set().union(*(words_of(cell.source) for cell in cells)) - known - _EVERYWHERE
    seen, shown, secret, met = set(_EVERYWHERE), [], [], False
    for cell, text, new in zip(cells, told, imported, strict=True):
        packages = set(map(_package, new))
        met |= text != cell.source
        # A test that students read may be the first to call what imports something that they do not read of.
        if text == cell.source and not (met and packages & hidden):
            shown += new
            seen |= packages
        else:
            secret += new
        seen |= set(map(_package, _imports(text)))  # also what a cell before has imported
    return shown + [name for name in secret if _package(name) in seen]


def _package(module: str) -> str:
    return module.partition(".")[0]


def _imports(source: str) -> Iterator[str]:
    """Yield the modules that import statements name, whatever lines for IPython stand beside them."""
    code = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
