"""Names for ids: a roster, CSV from a course system or a spreadsheet, taken into the gradebook."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from grader.book.nbgrader_course import NbCourse
from grader.course import CourseError
from grader.steps.collect.table import text_of
from grader.text import plain

LINES = "id,first_name,last_name,email"
_COLUMNS = {
    "id": ("id", "student", "student_id", "identifier", "roster_identifier", "username"),
    "first_name": ("first_name", "firstname", "given_name"),
    "last_name": ("last_name", "lastname", "surname", "family_name"),
    "email": ("email", "email_address", "e-mail"),
}
_MOST = 200  # characters of a name, as many as a line of a page can bear
# What a folder of submissions can be called: the id of a student is one.
_NO_ID = re.compile(r"[/\\\x00-\x1f\x7f]|^[.\s]|\s$")


@dataclass(frozen=True)
class Student:
    """One line of a roster; a field that it leaves empty is None."""

    id: str
    first_name: str | None
    last_name: str | None
    email: str | None


def read_roster(path: Path) -> list[Student]:
    """Return the students of a roster, in its order.

    The first line names the columns; `id` and a name must be among them, others are passed over. Columns are parted
    by commas, semicolons or tabs. Raises CourseError, with the line, for what is no roster.
    """
    text, sure = text_of(path, LINES)
    if not sure:
        raise CourseError(
            f'{path}: not in UTF-8, so that names would be spoilt; save the table as "CSV UTF-8"'
        )
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head: list[str] = []
    students: dict[str, Student] = {}
    lines: dict[str, int] = {}
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            where = f"{path}, line {reader.line_num}"
            if not head:
                head = _head(where, fields)
                continue
            student = _student(where, head, fields)
            if student.id in lines:
                raise CourseError(
                    f"{where}: {student.id!r} stands in line {lines[student.id]} too; leave one of them"
                )
            students[student.id], lines[student.id] = student, reader.line_num
    except csv.Error as error:
        raise CourseError(
            f"{path}, line {reader.line_num}: no CSV ({error}); write lines {LINES}, a name with a comma in quotes"
        ) from None
    if not students:
        raise CourseError(f"{path}: no student; write a first line {LINES}, and a line for each student")
    return list(students.values())


def _head(where: str, fields: list[str]) -> list[str]:
    """Return for each column what it holds: a key of `_COLUMNS`, or nothing."""
    found = []
    for field in fields:
        name = field.lower().replace(" ", "_")
        kinds = [kind for kind, names in _COLUMNS.items() if name in names]
        if kinds and kinds[0] in found:
            raise CourseError(f"{where}: two columns are the {kinds[0]} ({plain(field, 40)!r}); leave one")
        found += kinds or [""]
    if "id" not in found or not {"first_name", "last_name"} & set(found):
        told = plain(", ".join(fields), 120)
        raise CourseError(f"{where}: the columns are {told!r}; name them {LINES} (id and a name are needed)")
    return found


def _student(where: str, head: list[str], fields: list[str]) -> Student:
    shown = plain(",".join(fields), 120)
    if len(fields) != len(head):
        raise CourseError(
            f"{where}: {shown!r} has {len(fields)} columns, the first line {len(head)}; "
            "write as many, a name with a comma in quotes"
        )
    values = {kind: value for kind, value in zip(head, fields, strict=True) if kind}
    if not values["id"] or _NO_ID.search(values["id"]) or len(values["id"].encode()) > 128:
        raise CourseError(
            f"{where}: {shown!r} has no id that a folder can be called; write the one of the submitted folder"
        )
    for kind, value in values.items():
        if value != plain(value, _MOST):
            raise CourseError(
                f"{where}: the {kind} {plain(value, 60)!r} is longer than {_MOST} characters or holds some that "
                "cannot be shown; write it as it is to be read"
            )
    return Student(
        values.pop("id"), *(values.get(kind) or None for kind in ("first_name", "last_name", "email"))
    )


def take(course_root: Path | str, path: Path) -> tuple[int, int, list[str]]:
    """Give the gradebook the names of a roster.

    Returns how many students are new to it, of how many a name or an address has changed, and the ids with a
    submission that the roster lacks. Nobody is taken out, and a field that the roster leaves empty stays as it is.
    Raises CourseError as `read_roster` does; the gradebook is then as it was.
    """
    from nbgrader import api

    students = read_roster(path)
    course = NbCourse.open(course_root)
    gradebook = course.gradebook()
    try:
        known = {student.id: student for student in gradebook.db.query(api.Student)}
        added = changed = 0
        for student in students:
            told = {
                kind: value
                for kind in ("first_name", "last_name", "email")
                if (value := getattr(student, kind)) is not None
            }
            row = known.get(student.id)
            if row is None:
                gradebook.db.add(api.Student(id=student.id, **told))
                added += 1
            elif any(getattr(row, kind) != value for kind, value in told.items()):
                for kind, value in told.items():
                    setattr(row, kind, value)
                changed += 1
        gradebook.db.commit()
        named = {student.id for student in students}
        submitted = {
            student for assignment in gradebook.assignments for student in course.submissions(assignment.name)
        }
        submitted |= {student for (student,) in gradebook.db.query(api.SubmittedAssignment.student_id)}
    finally:
        gradebook.close()
    return added, changed, sorted(submitted - named)
