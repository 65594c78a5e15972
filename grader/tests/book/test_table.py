"""The table of grades is CSV, whatever stands in it."""

import csv

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.book.table import COLUMNS, CsvTable
from grader.steps.export import export

NAMES = ["Doe, Jr.", 'Ann "Nan" Lee', "two\nlines", "Dvo\u0159\u00e1k; PhD", "", "=1+1", " lee "]


@pytest.fixture
def course(released_course):
    gradebook = NbCourse.open(released_course).gradebook()
    for number, name in enumerate(NAMES):
        gradebook.add_student(f"s{number}", last_name=name, first_name="A, B", email=None)
        gradebook.add_submission("hw1", f"s{number}")
    gradebook.add_student("none")
    gradebook.close()
    return released_course


def test_every_name_stays_in_its_field(course, tmp_path):
    # ls1intum/Artemis#4767
    path, _ = export(course, tmp_path / "grades.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    assert {len(row) for row in rows} == {len(header)}
    found = {row[3]: row for row in rows}
    assert [found[f"s{number}"][4] for number in range(len(NAMES))] == NAMES
    assert {row[5] for row in rows} == {"A, B", ""}


def test_where_nothing_needs_a_quote_the_table_is_nbgraders_own(course, tmp_path):
    from nbgrader.plugins import CsvExportPlugin

    gradebook = NbCourse.open(course).gradebook()
    for student in gradebook.students:
        student.last_name = student.first_name = "x"
    texts = {}
    for kind in (CsvTable, CsvExportPlugin):
        for wanted in ([], ["s1", "none"]):
            plugin = kind(to=str(tmp_path / "out.csv"), student=wanted, assignment=["hw1"])
            plugin.export(gradebook)
            texts[kind, len(wanted)] = (tmp_path / "out.csv").read_text()
    gradebook.close()
    assert texts[CsvTable, 0] == texts[CsvExportPlugin, 0]
    assert texts[CsvTable, 2] == texts[CsvExportPlugin, 2]
    assert texts[CsvTable, 2].count("\n") == 3


def test_nbgraders_own_command_quotes_too(course):
    assert NbCourse.open(course).config.ExportApp.plugin_class is CsvTable
