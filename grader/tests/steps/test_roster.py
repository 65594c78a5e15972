"""A roster gives names to ids, and a line that it cannot mean is refused before anything is written."""

import pytest

from grader.book.nbgrader_course import NbCourse
from grader.book.results import class_names
from grader.course import CourseError
from grader.steps.roster import read_roster, take


def names_of(course):
    gradebook = NbCourse.open(course).gradebook()
    try:
        return class_names(gradebook)
    finally:
        gradebook.close()


def test_students_stay_nameless_or_lose_what_the_roster_leaves_empty(released_course, hand_in, tmp_path):
    hand_in("ann")
    hand_in("guest")
    path = tmp_path / "roster.csv"
    # As a spreadsheet of another country writes it.
    text = 'Last name;First name;Student ID;Group\r\n"Lovelace; Countess";Ann;ann;3\r\nŠimić;Bo;bo;3\r\n'
    path.write_bytes(text.encode("utf-16"))
    assert take(released_course, path) == (2, 0, ["guest"])
    assert names_of(released_course) == {"ann": "Ann Lovelace; Countess", "bo": "Bo Šimić"}
    path.write_text("id,first_name,last_name\nann,Anna,\n", encoding="utf-8")
    assert take(released_course, path) == (0, 1, ["guest"])
    assert names_of(released_course)["ann"] == "Anna Lovelace; Countess"
    assert take(released_course, path) == (0, 0, ["guest"])


HEAD = "id,first_name,last_name\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no student; write a first line id,first_name"),
        (HEAD, "no student"),
        ("name,points\nann,3\n", "line 1: the columns are 'name, points'; name them id,first_name"),
        ("id,id,first_name\na,b,c\n", "line 1: two columns are the id"),
        (
            HEAD + "ann,Ann,Lovelace,3\n",
            "line 2: 'ann,Ann,Lovelace,3' has 4 columns, the first line 3; write as many",
        ),
        (HEAD + "\nann,Ann,L\nann,Bo,M\n", "line 4: 'ann' stands in line 3 too"),
        (HEAD + ",Ann,L\n", "line 2: ',Ann,L' has no id that a folder can be called"),
        (HEAD + "../ann,Ann,L\n", "has no id that a folder can be called"),
        (
            HEAD + "ann,An\u202en,L\n",
            "the first_name 'An n' is longer than 200 characters or holds some that",
        ),
        (HEAD + f"ann,{'A' * 300},L\n", "longer than 200 characters"),
        (HEAD + 'ann,"Ann,L\n', "no CSV"),
    ],
)
def test_a_bad_line_is_taken_or_refused_without_its_number_and_remedy(released_course, tmp_path, text, says):
    path = tmp_path / "roster.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError) as refused:
        take(released_course, path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)
    assert names_of(released_course) == {}


def test_a_table_in_an_old_code_page_would_spoil_names(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes((HEAD + "ann,Änn,L\n").encode("latin-1"))
    with pytest.raises(CourseError, match=r'not in UTF-8.*save the table as "CSV UTF-8"'):
        read_roster(path)
