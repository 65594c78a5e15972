"""Python text, changed: pairs of old and new text, and new bodies of functions, as TOML files hold them.

Wrong solutions (`grader.notebooks.wrong`) and mutants (`grader.examine.suite.mutants`) are made of a right file by
`edited`.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def edited(original: str, entry: Mapping[str, Any]) -> str:
    """Return `original` changed by what an entry of a TOML file holds as `edits` and `body`; raises ValueError.

    `edits` are pairs of old and new text. `body.f` or `body.Class.f` is the new body of a function.
    """
    edits = entry.get("edits", [])
    if not isinstance(edits, list) or not all(map(_is_pair, edits)):
        raise ValueError("edits is no list of pairs; write [['old text', 'new text']]")
    return apply_edits(original, edits, dict(_flat(entry.get("body", {}))))


def apply_edits(
    original: str, edits: Iterable[Sequence[str]] = (), bodies: Mapping[str, str] | None = None
) -> str:
    """Return `original` with all `edits` (old text, new text) and `bodies` (function: its new body) made at once.

    Each is looked up in the original, so that their order does not matter. Raises ValueError for an old text that
    does not stand there exactly once, a function that does not, and changes of the same place.
    """
    places = [(*_place_of_text(original, old), new) for old, new in edits]
    places += [(*_place_of_body(original, name), body) for name, body in (bodies or {}).items()]
    places.sort()
    for (_, end, first), (start, _, second) in itertools.pairwise(places):
        if start < end:
            raise ValueError(f"{_quoted(first)} and {_quoted(second)} come in the same place; join them")
    result = original
    for start, end, new in reversed(places):
        result = result[:start] + _indented(new, _indentation(original, start)) + result[end:]
    return result


def program(text: str, what: str) -> str:
    """Return the syntax tree of `text`, without lines and comments; raises ValueError where it is no Python."""
    try:
        tree = ast.parse(text, what)
        compile(tree, what, "exec", dont_inherit=True)  # notices a `return` outside of a function, too
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what} is no Python: {error}; correct it") from None
    return ast.dump(tree)


def _is_pair(edit: Any) -> bool:
    return isinstance(edit, list) and len(edit) == 2 and all(isinstance(text, str) for text in edit)


def _flat(bodies: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    """Yield names with dots and texts of nested tables: TOML reads body.Class.f as a table in a table."""
    if isinstance(bodies, dict):
        for name, body in bodies.items():
            yield from _flat(body, (*path, name))
    elif isinstance(bodies, str) and path:
        yield ".".join(path), bodies
    else:
        raise ValueError("body is no table of texts; write body.f = '''...''' for a function f")


def _place_of_text(text: str, old: str) -> tuple[int, int]:
    """Return where `old` begins and ends in `text`, indentation aside."""
    first = _indented(old, "").partition("\n")[0]
    if not first:
        raise ValueError("an edit's old text is empty; name the text beside which the new one belongs")
    places, start = [], text.find(first)
    while start >= 0:
        here = _indented(old, _indentation(text, start))
        if text.startswith(here, start):
            places.append((start, start + len(here)))
        start = text.find(first, start + 1)
    if not places:
        raise ValueError(f"the old text {_quoted(old)} does not stand there; write what stands there now")
    if len(places) > 1:
        raise ValueError(f"the old text {_quoted(old)} stands there {len(places)} times; make it longer")
    return places[0]


def _place_of_body(text: str, name: str) -> tuple[int, int]:
    """Return where the body of a function begins and ends in `text`, without its docstring."""
    node: ast.AST = ast.parse(text)
    for step in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        inner = [one for one in getattr(node, "body", []) if isinstance(one, kinds) and one.name == step]
        if len(inner) != 1:
            raise ValueError(f"it has no function {name}, or several; name one as f or Class.f")
        (node,) = inner
    if isinstance(node, ast.ClassDef):
        raise ValueError(f"{name} is a class; name one of its functions, as {name}.f")
    statements = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
    first = statements[0]
    begin = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", []))])
    lines = text.split("\n")
    start = sum(len(line) + 1 for line in lines[: begin - 1])
    whole = "\n".join(lines[begin - 1 : statements[-1].end_lineno])
    return start + len(_indentation(text, start)), start + len(whole)


def _indentation(text: str, place: int) -> str:
    """Return the white space at the beginning of the line at `place`."""
    line = text[text.rfind("\n", 0, place) + 1 :].partition("\n")[0]
    return line[: len(line) - len(line.lstrip())]


def _indented(text: str, indentation: str) -> str:
    """Return `text` without its own indentation, every line but the first indented."""
    return textwrap.indent(textwrap.dedent(text).strip(), indentation).removeprefix(indentation)


def _quoted(text: str) -> str:
    first, *more = text.strip().splitlines() or [""]
    return repr(first + " ..." * bool(more))
