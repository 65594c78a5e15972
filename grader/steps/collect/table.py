"""The table of repositories, `student,url`, as spreadsheets and course systems write it."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from grader.course import CourseError
from grader.steps.collect.addresses import parse
from grader.text import plain

_STUDENT = ("student", "student_id", "roster_identifier", "identifier", "github_username")
_URL = ("url", "student_repository_url", "repository_url", "repository")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MOST = 16 << 20  # bytes
_ANY = "latin-1"  # has a character for every byte; of those beyond ASCII nothing is read


def read_repositories(path: Path) -> list[tuple[str, str]]:
    """Return (student, address) of each line: of the columns that a first line names, else of the first two.

    Read are commas, semicolons and tabs between columns, and UTF-8, UTF-16 and UTF-32. What is neither is read where
    ids and addresses are ASCII: what other columns say does not matter. Raises CourseError for what is no such table.
    """
    text, sure = text_of(path)
    try:
        rows = [[field.strip() for field in row] for row in _rows(text)]
    except csv.Error as error:
        raise CourseError(f"{path}: no CSV file ({error}); write lines student,url") from None
    rows = [row for row in rows if any(row)]
    student, url = 0, 1
    if rows:
        named = [_squeezed(field) for field in rows[0]]
        at = [next((named.index(name) for name in names if name in named), -1) for names in (_STUDENT, _URL)]
        if min(at) >= 0:
            student, url = at
        if min(at) >= 0 or named[0] in _STUDENT[:2]:
            rows = rows[1:]
    found = []
    for row in rows:
        if len(row) <= max(student, url) or not row[student]:
            raise CourseError(f"{path}: the line {plain(','.join(row), 200)!r} is not student,url")
        if not sure and not (row[student] + row[url]).isascii():
            raise CourseError(
                f"{path}: the line of {plain(row[url], 120)!r} is not in UTF-8, and its student's id or address has "
                'more than ASCII; save the table as "CSV UTF-8"'
            )
        found.append((row[student], row[url]))
    if not found:
        raise CourseError(f"{path}: no line; write lines student,url")
    return found


def text_of(path: Path, lines: str = "student,url") -> tuple[str, bool]:
    """Return what a table says, and whether its encoding is known; `lines` are what it ought to hold.

    Raises CourseError for a file that cannot be read or is too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise CourseError(f"{path}: {error.strerror}; write a CSV file with lines {lines}") from None
    if len(data) > _MOST:
        raise CourseError(f"{path}: more than {_MOST >> 20} MiB; write a CSV file with lines {lines}")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if not encoding and b"\0" in data[:200]:  # UTF-16 without a mark: every other byte of an address is zero
        encoding = "utf-16-le" if data[1::2].count(0) >= data[::2].count(0) else "utf-16-be"
    for name in [encoding] if encoding else ["utf-8", _ANY]:
        try:
            return data.decode(name), name != _ANY
        except UnicodeDecodeError as error:
            wrong = error
    raise CourseError(f'{path}: begins like {encoding}, and is none ({wrong}); save the table as "CSV UTF-8"')


def _rows(text: str) -> list[list[str]]:
    """Return the rows, parted by what parts the first line: a tab, a semicolon or a comma."""
    lines = text.splitlines(keepends=True)
    if lines and (first := lines[0].strip().lower()).startswith("sep=") and len(first) == 5:
        return list(csv.reader(io.StringIO(text[len(lines[0]) :], newline=""), delimiter=first[4]))
    first = next((line for line in lines if line.strip()), "")
    delimiter = next((sign for sign in "\t;," if _is_first(first.strip().split(sign))), ",")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


def _is_first(fields: list[str]) -> bool:
    """Return whether a line that is parted so has a column of a name that we know, or an address."""
    names = [_squeezed(field.strip('"')) for field in fields]
    return len(names) > 1 and any(name in _STUDENT + _URL or parse(name) for name in names)


def _squeezed(field: str) -> str:
    return field.strip().lower().replace(" ", "_")
