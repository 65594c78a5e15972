"""Wrong solutions as edits: what a check must catch, told as the difference from the right solution.

A TOML file stands for one original, which lies in the folder above it; each table in it is one wrong solution:

    file = "syncbn.py"

    [syncbn_momentum_reversed]
    mistake = "the momentum weighs the old value, not the new one"
    caught_by = "syncbn_keeps_running_statistics"
    edits = [['lerp_(mean, momentum)', 'lerp_(mean, 1 - momentum)']]

`edits` are pairs of old and new text; the old one stands once in the original. `body.f` or `body.Class.f` replaces
the body of a function, whose signature and docstring stay. Indentation does not count: a new text is indented as
what it replaces. `whole` names a file beside the TOML file instead, for what is another program altogether. `needs`
says what a machine must have for the mistake to show.
"""

from __future__ import annotations

import ast
import itertools
import textwrap
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.course import CourseError

_REQUIRED, _CHANGES = ("mistake", "caught_by"), ("edits", "body", "whole")
_KEYS = (*_REQUIRED, "needs", *_CHANGES)


@dataclass(frozen=True)
class WrongSolution:
    """A file with a mistake, and the check that must catch it."""

    name: str
    file: str  # the name of the original that it replaces
    mistake: str
    caught_by: str
    needs: str  # empty where it shows on every machine
    text: str


def wrong_solutions(folder: Path) -> list[WrongSolution]:
    """Return the wrong solutions that the TOML files of `folder` describe, sorted by name.

    Originals are the files of the folder above. Raises CourseError, which names file and entry, for what is
    malformed, for an edit that does not fit its original (any more), and for a result that is no Python or the
    same program as the original. A `.py` file that no entry names is an error too.
    """
    found: dict[str, WrongSolution] = {}
    named = set()
    for path in sorted(folder.glob("*.toml")):
        file, entries = _read(path)
        original = (folder.parent / file).read_text(encoding="utf-8")
        try:
            unchanged = _program(original, "it")
        except ValueError as error:
            raise CourseError(f"{folder.parent / file}: {error}") from None
        for name, entry in entries.items():
            where = f"{path}: [{name}]"
            if name in found:
                raise CourseError(f"{where} stands in another file too; give one of the two another name")
            try:
                text = _text(original, entry, folder)
                if _program(text, "the result") == unchanged:
                    raise ValueError("the result is the same program; make an edit that changes what it does")
            except ValueError as error:
                raise CourseError(f"{where}, an edit of {file}: {error}") from None
            named.add(entry.get("whole"))
            about = {key: entry.get(key, "") for key in (*_REQUIRED, "needs")}
            found[name] = WrongSolution(name, file, **about, text=text)
    if strays := sorted({path.name for path in folder.glob("*.py")} - named):
        raise CourseError(f"{folder / strays[0]}: no entry names it; add one with whole, or delete it")
    return [found[name] for name in sorted(found)]


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


def _read(path: Path) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the name of the original and the entries of a TOML file; raises CourseError."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: not valid TOML: {error}") from None
    file = entries.pop("file", None)
    if not isinstance(file, str):
        raise CourseError(f"{path}: begin it with file = and the name of the file that its entries change")
    if not (path.parent.parent / file).is_file():
        raise CourseError(f"{path}: file = {file!r} is not in {path.parent.parent}; name a file that is")
    for name, entry in entries.items():
        where = f"{path}: [{name}]"
        if not isinstance(entry, dict):
            raise CourseError(f"{path}: {name!r} is no table; write file, and then one table per mistake")
        if unknown := sorted(entry.keys() - set(_KEYS)):
            raise CourseError(f"{where} has the unknown key {unknown[0]!r}; there are: {', '.join(_KEYS)}")
        if missing := [key for key in _REQUIRED if not entry.get(key)]:
            raise CourseError(f"{where} lacks {missing[0]}; add a line with it")
        texts = [entry.get(key, "") for key in (*_REQUIRED, "needs", "whole")]
        if not all(isinstance(text, str) for text in texts):
            raise CourseError(f"{where}: mistake, caught_by, needs and whole are texts; quote them")
        if sorted(entry.keys() & set(_CHANGES)) not in (["edits"], ["body"], ["body", "edits"], ["whole"]):
            raise CourseError(f"{where} needs edits, or body, or both, or else whole")
    return file, entries


def _text(original: str, entry: dict[str, Any], folder: Path) -> str:
    """Return the text of a wrong solution; raises ValueError."""
    if "whole" in entry:
        path = folder / entry["whole"]
        if not path.is_file():
            raise ValueError(f"whole = {entry['whole']!r} is not in {folder}; name a file that is")
        return path.read_text(encoding="utf-8")
    edits = entry.get("edits", [])
    if not isinstance(edits, list) or not all(map(_is_pair, edits)):
        raise ValueError("edits is no list of pairs; write [['old text', 'new text']]")
    return apply_edits(original, edits, dict(_flat(entry.get("body", {}))))


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


def _program(text: str, what: str) -> str:
    """Return the syntax tree of `text`, without lines and comments; raises ValueError where it is no Python."""
    try:
        tree = ast.parse(text, what)
        compile(tree, what, "exec", dont_inherit=True)  # notices a `return` outside of a function, too
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what} is no Python: {error}; correct it") from None
    return ast.dump(tree)
