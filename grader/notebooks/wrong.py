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

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.course import CourseError
from grader.edits import edited, program

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
            unchanged = program(original, "it")
        except ValueError as error:
            raise CourseError(f"{folder.parent / file}: {error}") from None
        for name, entry in entries.items():
            where = f"{path}: [{name}]"
            if name in found:
                raise CourseError(f"{where} stands in another file too; give one of the two another name")
            try:
                text = _text(original, entry, folder)
                if program(text, "the result") == unchanged:
                    raise ValueError("the result is the same program; make an edit that changes what it does")
            except ValueError as error:
                raise CourseError(f"{where}, an edit of {file}: {error}") from None
            named.add(entry.get("whole"))
            about = {key: entry.get(key, "") for key in (*_REQUIRED, "needs")}
            found[name] = WrongSolution(name, file, **about, text=text)
    if strays := sorted({path.name for path in folder.glob("*.py")} - named):
        raise CourseError(f"{folder / strays[0]}: no entry names it; add one with whole, or delete it")
    return [found[name] for name in sorted(found)]


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
    return edited(original, entry)
