"""Mutants: right files with one mistake each, as a TOML file tells them.

    [warmup_from_zero]
    file = "optimizer.py"
    mistake = "the first step has a learning rate of 0"
    about = "the learning rate"
    source = "https://..."
    edits = [['(step + 1) / warmup', 'step / warmup']]

Edits and bodies are those of wrong solutions (`grader.edits`). `about` is what a student may know of a mutant that
survives; `source` is where the mistake was made by others. `hard = true` marks the ones that few suites see.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grader.course import CourseError
from grader.edits import edited, program

_TEXTS = ("file", "mistake", "about", "source")
_KEYS = (*_TEXTS, "edits", "body", "hard")


@dataclass(frozen=True)
class Mutant:
    """All files of an implementation, one of which has a mistake."""

    name: str
    file: str
    mistake: str
    about: str
    source: str
    hard: bool
    files: Mapping[str, str] = field(repr=False)


def load_mutants(path: Path, right: Mapping[str, str]) -> list[Mutant]:
    """Return the mutants that a TOML file makes of the `right` files, a text by its name.

    Raises CourseError, which names file and entry, for what is malformed, for an edit that does not fit (any more),
    and for a result that is no Python or the same program.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path}: not valid TOML: {error}") from None
    return [_mutant(f"{path}: [{name}]", name, entry, right) for name, entry in entries.items()]


def _mutant(where: str, name: str, entry: Any, right: Mapping[str, str]) -> Mutant:
    if not isinstance(entry, dict):
        raise CourseError(f"{where} is no table; write one for each mutant")
    if unknown := sorted(entry.keys() - set(_KEYS)):
        raise CourseError(f"{where} has the unknown key {unknown[0]!r}; there are: {', '.join(_KEYS)}")
    if missing := [key for key in _TEXTS if not isinstance(entry.get(key), str) or not entry[key]]:
        raise CourseError(f"{where} lacks {missing[0]}; add a line with it")
    file = entry["file"]
    if file not in right:
        raise CourseError(f"{where}: {file} is none of {', '.join(right)}; name one of these")
    try:
        text = edited(right[file], entry)
        if program(text, "the result") == program(right[file], "it"):
            raise ValueError("the result is the same program; make an edit that changes what it does")
    except ValueError as error:
        raise CourseError(f"{where}, an edit of {file}: {error}") from None
    about = {key: entry[key] for key in _TEXTS}
    return Mutant(name, **about, hard=entry.get("hard") is True, files={**right, file: text})
