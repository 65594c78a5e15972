"""hw1: the checks accept the references and files of past years, and reject every known wrong solution."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from grader.course import Course
from grader.examine.examiner import checks_of
from grader.notebooks.source import strip_solutions, validate
from grader.notebooks.wrong import wrong_solutions

COURSE = Path(__file__).parents[1]
HOMEWORK = Course.load(COURSE).assignment("hw1_distributed")
WRONG = wrong_solutions(HOMEWORK.source / "wrong")
RIGHT = sorted((HOMEWORK.source / "right").glob("*.py"))
PAST_YEARS = sorted((Path(__file__).parent / "past_years").glob("*/"))
TIMED = {
    node.name
    for path in (HOMEWORK.source / "checks").glob("*.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and "sub.compare(" in ast.unparse(node)
}
"""The checks that compare times: a test beside them would share the two processors that they need."""
TIMED_FILES = {wrong.file for wrong in WRONG if wrong.caught_by in TIMED}


def submission(part, folder, replacements=()):
    """Return a folder with the reference solution of a part, some of its files replaced."""
    folder.mkdir()
    for name in part.files:
        shutil.copy(part.source / name, folder / name)
    for name, text in replacements:
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def part_of(file):
    """Return the part that asks for this file."""
    (part,) = (part for part in HOMEWORK.parts.values() if file in part.files)
    return part


def one(value, name, timed):
    """Return a parameter, marked where its test compares times."""
    return pytest.param(value, id=name, marks=[pytest.mark.alone] if timed else [])


PARTS = [
    one(part, f"part{part.number}", TIMED_FILES.intersection(part.files)) for part in HOMEWORK.parts.values()
]


def header(path):
    """Return what the first lines of a right solution declare."""
    return dict(re.findall(r"^# ([a-z ]+): (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def failures(report):
    return {check.name: f"{check.verdict}: {check.why}" for check in report.checks if check.verdict != "pass"}


def lacks(examiner, needs):
    """Return whether this machine lacks what the `needs` of a wrong solution begins with."""
    there = {"namespaces": examiner.place.isolated, "control groups": examiner.place.cgroups is not None}
    (needed,) = (name for name in there if needs.startswith(name))
    return not there[needed]


def test_statements_points_and_stubs_agree_with_the_course():
    assert validate(HOMEWORK) == []


def test_printed_commands_need_no_activated_environment():
    texts = [*HOMEWORK.source.glob("*.md"), *HOMEWORK.source.glob("*.py")]
    commands = {
        path.name: re.findall(
            r"\S*(?:torchrun|grader) (?:--nproc|check|pack)", path.read_text(encoding="utf-8")
        )
        for path in texts
    }
    assert any(commands.values())
    for name, found in commands.items():
        assert [one for one in found if not one.lstrip("`").startswith(".venv/bin/")] == [], name


def test_weights_of_the_assignments_add_up():
    course = Course.load(COURSE)
    assert sum(assignment.weight for assignment in course.assignments.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_reference_gets_full_points(examiner, tmp_path, part):
    report = examiner.examine(part, submission(part, tmp_path / "reference"))
    assert failures(report) == {}
    assert {item: report.points(item) for item in part.items} == part.items


@pytest.mark.parametrize("part", PARTS)
def test_untouched_stubs_get_nothing_and_say_what_is_missing(examiner, tmp_path, part):
    stubs = [(name, strip_solutions((part.source / name).read_text(encoding="utf-8"))) for name in part.files]
    report = examiner.examine(part, submission(part, tmp_path / "stubs", stubs))
    assert report.total == 0
    assert {check.verdict for check in report.checks} == {"fail"}
    assert [check.name for check in report.checks if "not implemented yet" not in check.why] == []


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_file_fails_its_own_checks_only(examiner, tmp_path, part):
    gone = min(part.items, key=part.items.get)
    left = [item for item in part.items if part.modules[item] != part.modules[gone]]
    kept = min(left, key=part.items.get)
    folder = submission(part, tmp_path / "missing")
    (folder / part.modules[gone]).unlink()
    report = examiner.examine(part, folder, items=[gone, kept])
    assert {check.item for check in report.checks if check.verdict != "pass"} == {gone}
    assert report.points(gone) == 0
    assert report.points(kept) == part.items[kept]


@pytest.mark.slow
@pytest.mark.parametrize("folder", PAST_YEARS, ids=lambda folder: folder.name)
def test_files_of_past_years_get_full_points(examiner, tmp_path, folder):
    part = HOMEWORK.part(2)
    theirs = [(path.name, path.read_text(encoding="utf-8")) for path in folder.glob("*.py")]
    report = examiner.examine(
        part, submission(part, tmp_path / folder.name, theirs), items=["sequential_print", "ring", "syncbn"]
    )
    assert failures(report) == {}


@pytest.mark.parametrize("wrong", [one(wrong, wrong.name, wrong.caught_by in TIMED) for wrong in WRONG])
def test_wrong_solution_is_caught(examiner, tmp_path, wrong, unsettled):
    if wrong.needs and lacks(examiner, wrong.needs):
        pytest.skip(wrong.needs)
    part = part_of(wrong.file)
    with unsettled(part, [wrong.caught_by], wrong.text) as to_examine:
        if to_examine:
            folder = submission(part, tmp_path / "wrong", [(wrong.file, wrong.text)])
            # The one check that must catch it: the others would take minutes and prove nothing.
            (result,) = examiner.examine(part, folder, names=[wrong.caught_by]).checks
            assert result.verdict == "fail", result
            assert "damaged" not in result.why, result


ONE_CHECK = [
    "ring_sums",
    "ring_drops_the_remainder",
    "ring_exchanges_whole_tensors",
    "syncbn_averages_means",
    "syncbn_biased_running_variance",
    "syncbn_saves_in_the_class",
    "syncbn_updates_in_evaluation",
    "metrics_counts_padded_rows",
    "accumulation_averages_twice",
    "adam_averages_twice",
    "counting_overwrites",
    "pairs_in_one_direction",
    "glove_loses_repeated_ids",
    "pipeline_does_not_scale",
    "print_separator_at_the_end",
]
"""Mistakes of those that a check of something else once charged a second time."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_CHECK)
def test_one_mistake_costs_one_check(examiner, tmp_path, name, unsettled):
    (wrong,) = (wrong for wrong in WRONG if wrong.name == name)
    part = part_of(wrong.file)
    if wrong.needs and lacks(examiner, wrong.needs):
        pytest.skip(wrong.needs)
    (item,) = {check.item for check in checks_of(part) if check.name == wrong.caught_by}
    # Without comparisons of times, which would have to run alone.
    names = [check.name for check in checks_of(part) if check.item == item and check.name not in TIMED]
    with unsettled(part, names, wrong.text) as to_examine:
        if to_examine:
            folder = submission(part, tmp_path / "wrong", [(wrong.file, wrong.text)])
            assert set(failures(examiner.examine(part, folder, names=names))) == {wrong.caught_by}


@pytest.mark.parametrize(
    ("name", "check", "why", "hint"),
    [
        (
            "accumulation_keeps_the_last_micro_batch",
            "accumulation_communicates_once",
            "ranks 0 and 1 have different weights after the step",
            "the last one too",
        ),
        (
            "syncbn_updates_in_evaluation",
            "syncbn_keeps_running_statistics",
            "evaluation, outputs is off by",
            "In evaluation mode",
        ),
    ],
)
def test_what_is_said_of_a_mistake_names_its_cause(examiner, tmp_path, name, check, why, hint):
    (wrong,) = (wrong for wrong in WRONG if wrong.name == name)
    part = part_of(wrong.file)
    folder = submission(part, tmp_path / "wrong", [(wrong.file, wrong.text)])
    (result,) = examiner.examine(part, folder, names=[check]).checks
    assert result.why.startswith(why)
    assert hint in result.hint


@pytest.mark.parametrize("part", PARTS)
def test_every_check_is_tripped_by_a_wrong_solution(part):
    caught = {wrong.caught_by for wrong in WRONG if part_of(wrong.file) == part}
    assert caught == {check.name for check in checks_of(part)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [one(path, path.stem, header(path)["replaces"] in TIMED_FILES) for path in RIGHT]
)
def test_right_solutions_get_full_points(examiner, tmp_path, path, unsettled):
    replaced, text = header(path)["replaces"], path.read_text(encoding="utf-8")
    part = part_of(replaced)
    # The items of this file: the others are the reference's, which its own test examines.
    items = [item for item in part.items if part.modules[item] == replaced]
    names = [check.name for check in checks_of(part) if check.item in items]
    with unsettled(part, names, text) as to_examine:
        if to_examine:
            folder = submission(part, tmp_path / "right", [(replaced, text)])
            report = examiner.examine(part, folder, items=items)
            assert failures(report) == {}
            assert {item: report.points(item) for item in items} == {item: part.items[item] for item in items}


def test_every_item_has_right_solutions_by_two_methods():
    methods = {path: header(path)["method"] for path in RIGHT}
    assert len(set(methods.values())) == len(RIGHT)
    for part in HOMEWORK.parts.values():
        for name in part.files:
            assert len([path for path in RIGHT if header(path)["replaces"] == name]) >= 2, name
