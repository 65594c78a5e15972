"""Reads the values of `course.toml` with their types and ranges; a wrong one is said in a sentence, with its line."""

from __future__ import annotations

import bisect
import difflib
import functools
import logging
import math
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_AT = re.compile(r" \(at line (\d+), column \d+\)$")
_DATE = "2027-02-15T23:59:00Z"
_NO_DATE = f"write a date and a time without quotes, with Z for UTC or an offset such as +01:00: {_DATE}"
_YEARS = range(
    2000, 3000
)  # what lies outside is a slip of the pen, and dates at the ends overflow in other zones


class Wrong(ValueError):
    """A value that the course cannot use. `path` leads to it from the top of the file."""

    def __init__(self, path: Iterable[str], says: str):
        super().__init__(says)
        self.path = tuple(path)


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8; raises Wrong for another encoding, OSError where it cannot be read."""
    try:
        # Windows' editors put a byte order mark in front, and end lines with two characters.
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise Wrong((), f"not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None


def parse(text: str) -> Table:
    """Return the table that a TOML text is; raises Wrong, with the line in its sentence, where it is none."""
    try:
        return Table((), tomllib.loads(text))
    except RecursionError:
        raise Wrong((), "not valid TOML: nested too deeply") from None
    except ValueError as error:
        says = str(error)
        if not (at := _AT.search(says)):
            raise Wrong((), f"not valid TOML: {says}") from None
        line = text.split("\n")[int(at[1]) - 1].strip()
        says = f"not valid TOML: {_AT.sub('', says)}"
        if re.match(r"deadline\b", line):
            says = f"a deadline that is no date; {_NO_DATE}"
        elif re.search(r"=\s*\d+,\d", line):
            says += "; write decimals with a point"
        raise Wrong((), f"line {at[1]}, {shown(line)}: {says}") from None


def place(text: str, wrong: Wrong) -> str:
    """Return the sentence of `wrong`, behind the line of the TOML `text` that it is about where there is one."""
    line = line_of(text, wrong.path) if wrong.path else None
    return f"line {line}: {wrong}" if line else str(wrong)


def line_of(text: str, path: tuple[str, ...]) -> int | None:
    """Return the line of a valid TOML text on which the value at `path` begins, None where there is no such value.

    Beginnings of the text are parsed until one has the value, so that no second grammar is needed.
    """
    lines = text.split("\n")

    def has(count: int) -> bool:
        for end in range(count, len(lines) + 1):
            try:
                found: Any = tomllib.loads("\n".join(lines[:end]))
            except ValueError:  # in the middle of a value of several lines
                continue
            for key in path:
                if not isinstance(found, dict) or key not in found:
                    return False
                found = found[key]
            return True
        return False

    return bisect.bisect_left(range(len(lines)), True, key=has) if has(len(lines)) else None


def shown(value: Any) -> str:
    """Return a value as it is written in TOML, shortened."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, (date, time)):
        text = value.isoformat()
    else:
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Table:
    """A table of the file. Its methods raise Wrong for what is missing, of another type, or out of range."""

    path: tuple[str, ...]
    values: dict[str, Any]

    def wrong(self, key: str, remedy: str) -> Wrong:
        """Return the error that the value under `key` is; `remedy` is the rest of the sentence."""
        path = *self.path, key
        return Wrong(path, f"{'.'.join(path)} is {shown(self.values[key])}; {remedy}")

    def only(self, *known: str) -> Table:
        """Return this table; a key that is not among `known` would be a setting that nobody follows."""
        for key in self.values.keys() - set(known):
            near = difflib.get_close_matches(key, known, 1)
            here = f"[{'.'.join(self.path)}]" if self.path else "the file"
            advice = f"did you mean {near[0]}?" if near else f"{here} may have: {', '.join(known)}"
            raise Wrong((*self.path, key), f"{'.'.join((*self.path, key))} is not known; {advice}")
        return self

    def _of(self, key: str, kinds: type | tuple[type, ...], remedy: str) -> Any:
        if key not in self.values:
            where = f" in [{'.'.join(self.path)}]" if self.path else ""
            raise Wrong(self.path, f"the key {key!r} is missing{where}")
        value = self.values[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise self.wrong(key, remedy)
        return value

    def table(self, key: str, *, needed: bool = False) -> Table:
        """Return the table under `key`, an empty one where it is missing and not `needed`."""
        if key not in self.values and not needed:
            return Table((*self.path, key), {})
        return Table((*self.path, key), self._of(key, dict, "make it a table"))

    def tables(self) -> dict[str, Table]:
        """Return all tables that this one holds, by key, where it must hold nothing else."""
        return {key: self.table(key) for key in self.values}

    def text(self, key: str, default: str | None = None) -> str:
        """Return the text under `key`, `default` where it is missing."""
        if default is not None and key not in self.values:
            return default
        text = self._of(key, str, "write a text in quotes")
        if not text.strip() and default != "":
            raise self.wrong(key, "write a text that is not empty")
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of texts under `key`, an empty one where it is missing."""
        remedy = 'write a list of texts, such as ["one.py", "two.py"]'
        values = self._of(key, list, remedy) if key in self.values else []
        if not all(isinstance(value, str) and value for value in values):
            raise self.wrong(key, remedy)
        if len(set(values)) < len(values):
            raise self.wrong(key, "name each once")
        return tuple(values)

    def number(self, key: str, low: float = 0.0, high: float = math.inf) -> float:
        """Return the finite number under `key`, from `low` to `high`, an int where it was written as one."""
        value = self._of(key, (int, float), "write a number without quotes")
        if not low <= value <= high or math.isinf(value):
            remedy = (
                f"it must lie between {low:g} and {high:g}" if high < math.inf else "it must not be negative"
            )
            if (low, high) == (0, 1) and 1 < value <= 100:
                remedy += f" ({value:g} % is {value / 100:g})"
            raise self.wrong(key, remedy if math.isfinite(value) else "write a number")
        return value

    def shares(self) -> dict[str, float]:
        """Return all values of the table, where each is a number from 0 to 1."""
        return {key: self.number(key, 0, 1) for key in self.values}

    def points(self) -> dict[str, float]:
        """Return all values of the table, where each is a number above 0."""
        found = {key: float(self.number(key, -math.inf)) for key in self.values}
        for key, value in found.items():
            if value <= 0:
                raise self.wrong(key, "give it more points than 0")
        return found

    def whole(self, key: str, default: int = 0, most: int | None = None, why: str = "") -> int:
        """Return the whole number under `key`, from 0 to `most`, `default` where it is missing.

        `why` is said of one above `most`.
        """
        if key not in self.values:
            return default
        value = self._of(key, int, "write a whole number without quotes")
        if value < 0:
            raise self.wrong(key, "it must not be negative")
        if most is not None and value > most:
            raise self.wrong(key, f"it must be {most} at most" + (f": {why}" if why else ""))
        return value

    def moment(self, key: str) -> datetime | None:
        """Return the date and time under `key` in UTC, None where it is missing. One without a zone is UTC."""
        if key not in self.values:
            return None
        value = self._of(key, datetime, _NO_DATE)
        if value.year not in _YEARS:
            raise self.wrong(key, f"the year must lie between {_YEARS[0]} and {_YEARS[-1]}")
        if value.tzinfo is None:
            _say_once(
                f"{'.'.join((*self.path, key))} = {shown(value)} has no zone and is taken for UTC; write {_DATE}"
            )
            return value.replace(tzinfo=UTC)
        return value.astimezone(UTC)


@functools.cache
def _say_once(sentence: str) -> None:
    log.warning("course.toml: %s", sentence)
