"""Submissions from folders, zip files and git; nothing of them lands outside its own folder."""

import os
import stat
import subprocess
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.course import CourseError
from grader.steps.collect import collect, collect_git
from grader.steps.collect.archives import unzip
from grader.steps.collect.room import Refused, Room
from grader.steps.collect.take import check_student

NOTEBOOK = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}'


@pytest.fixture
def course(sample_course):
    release = sample_course / "release" / "hw1"
    release.mkdir(parents=True)
    (release / "part1_sums.ipynb").write_text(NOTEBOOK)
    return sample_course


def fill(folder, **more):
    folder.mkdir(parents=True)
    (folder / "sums.py").write_text("x = 1\n")
    (folder / "part1_sums.ipynb").write_text(NOTEBOOK)
    for name, text in more.items():
        (folder / name).write_text(text)


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def collected(course, student):
    folder = course / "submitted" / student / "hw1"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


WHOLE = {"sums.py", "part1_sums.ipynb", "timestamp.txt"}


def test_a_folder_per_student_is_taken_with_the_date_of_its_newest_file(course, tmp_path):
    fill(tmp_path / "in" / "ann")
    fill(tmp_path / "in" / "bob" / "hw1")
    for path in (tmp_path / "in" / "ann").iterdir():
        os.utime(path, (1_800_000_000, 1_800_000_000))
    results = collect(course, "hw1", tmp_path / "in")
    assert [(r.student, r.files, r.refused) for r in results] == [("ann", 2, ""), ("bob", 2, "")]
    assert collected(course, "ann") == collected(course, "bob") == WHOLE
    written = (course / "submitted" / "ann" / "hw1" / "timestamp.txt").read_text()
    assert written == f"{datetime.fromtimestamp(1_800_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC\n"


def test_a_date_that_the_student_wrote_does_not_count(course, tmp_path):
    fill(tmp_path / "in" / "ann", **{"timestamp.txt": "1999-01-01 00:00:00 UTC"})
    collect(course, "hw1", tmp_path / "in")
    assert "1999" not in (course / "submitted" / "ann" / "hw1" / "timestamp.txt").read_text()


def test_zip_files_per_student_and_moodles_names(course, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    zipped(
        source / "Jane Doe_4711_assignsubmission_file.zip",
        {"hw/sums.py": "x = 1", "hw/part1_sums.ipynb": NOTEBOOK},
    )
    (source / "Joe_4712_assignsubmission_file").mkdir()
    zipped(
        source / "Joe_4712_assignsubmission_file" / "mine.zip",
        {"sums.py": "x = 1", "part1_sums.ipynb": NOTEBOOK},
    )
    results = collect(course, "hw1", source, names=r"[^_]+_(?P<student>\d+)_.*")
    assert [r.student for r in results] == ["4711", "4712"]
    assert collected(course, "4711") == collected(course, "4712") == WHOLE


def test_a_zip_of_zips_keeps_the_dates_that_the_outer_one_gives(course, tmp_path):
    inner = zipped(tmp_path / "ann.zip", {"sums.py": "x = 1", "part1_sums.ipynb": NOTEBOOK})
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as outer:
        outer.writestr(zipfile.ZipInfo("ann.zip", (2027, 1, 2, 3, 4, 6)), inner.read_bytes())
        outer.writestr("bob/sums.py", "x = 2")
        outer.writestr("bob/part1_sums.ipynb", NOTEBOOK)
    results = collect(course, "hw1", tmp_path / "class.zip")
    assert [r.student for r in results] == ["ann", "bob"]
    assert results[0].timestamp.astimezone().replace(tzinfo=None) == datetime(2027, 1, 2, 3, 4, 6)


def test_the_last_of_several_submissions_counts(course, tmp_path):
    source = tmp_path / "in"
    for day, text in (("01", "early"), ("03", "late"), ("02", "middle")):
        fill(source / f"ann_2027-01-{day}", **{"sums.py": text})
    collect(course, "hw1", source, names=r"(?P<student>\w+)_(?P<timestamp>[-\d]+)")
    assert (course / "submitted" / "ann" / "hw1" / "sums.py").read_text() == "late"


def test_a_missing_file_is_named_and_a_missing_notebook_is_put_in_its_place(course, tmp_path):
    folder = tmp_path / "in" / "ann"
    fill(folder)
    (folder / "part1_sums.ipynb").rename(folder / "Part1_Sums (1).ipynb")
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert "part1_sums.ipynb is missing; is it Part1_Sums (1).ipynb?" in result.notes
    assert "part1_sums.ipynb" in collected(course, "ann")


@pytest.mark.parametrize(
    "name", ["../../outside.py", "/tmp/outside.py", "a/../../outside.py", "..\\outside.py", "C:/outside.py"]
)
def test_an_entry_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    archive = zipped(tmp_path / "a.zip", {name: "x", "sums.py": "x"})
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    notes = unzip(archive, target, Room((), 10, 1000))
    assert "leads out of the folder" in notes[0]
    assert [path.name for path in (tmp_path / "deep").rglob("*") if path.is_file()] == ["sums.py"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    entry = zipfile.ZipInfo("link.py")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    (tmp_path / "target").mkdir()
    assert "special file" in unzip(tmp_path / "a.zip", tmp_path / "target", Room((), 10, 1000))[0]
    assert list((tmp_path / "target").iterdir()) == []


def test_links_and_pipes_in_a_folder_are_left_out(course, tmp_path):
    folder = tmp_path / "in" / "ann"
    fill(folder)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("secret")
    (folder / "key.txt").symlink_to(secret / "key.txt")
    (folder / "all").symlink_to(secret)
    os.mkfifo(folder / "pipe")
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert collected(course, "ann") == WHOLE
    assert len([note for note in result.notes if "not taken" in note]) == 3


def test_a_bomb_is_stopped_by_the_bytes_that_come_out(tmp_path):
    archive = zipped(tmp_path / "bomb.zip", {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size < 20_000
    (tmp_path / "target").mkdir()
    assert "left out" in unzip(archive, tmp_path / "target", Room((), 10, 1 << 20))[0]
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_submission_over_the_limits_what_was_asked_for_is_taken(course, tmp_path, monkeypatch, packed):
    monkeypatch.setattr(Room.__init__, "__defaults__", (5, 1 << 20))
    more = {f"data/{index}": "" for index in range(9)} | {"aaa.csv": "x" * (2 << 20)}
    if packed:
        (tmp_path / "in").mkdir()
        zipped(
            tmp_path / "in" / "ann.zip", {**more, "hw/sums.py": "x = 1\n", "hw/part1_sums.ipynb": NOTEBOOK}
        )
    else:
        (tmp_path / "in" / "ann" / "data").mkdir(parents=True)
        fill(tmp_path / "in" / "ann" / "hw")
        for name, text in more.items():
            (tmp_path / "in" / "ann" / name).write_text(text)
    fill(tmp_path / "in" / "bob")
    ann, bob = collect(course, "hw1", tmp_path / "in")
    assert collected(course, "ann") == WHOLE
    assert any("left out" in note for note in ann.notes)
    assert not bob.notes


def test_names_in_any_script_are_ids_and_composed(course, tmp_path):
    fill(tmp_path / "in" / "и\u0306ван")
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert result.student == "йван"


def test_files_asked_for_are_found_in_different_folders(course, tmp_path):
    fill(tmp_path / "in" / "ann")
    (tmp_path / "in" / "ann" / "code").mkdir()
    (tmp_path / "in" / "ann" / "sums.py").rename(tmp_path / "in" / "ann" / "code" / "sums.py")
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert "sums.py was taken from code/sums.py" in result.notes
    assert collected(course, "ann") >= WHOLE


def test_backslashes_in_a_zip_file_part_folders(course, tmp_path):
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in" / "ann.zip", {"hw\\sums.py": "x = 1\n", "hw\\part1_sums.ipynb": NOTEBOOK})
    collect(course, "hw1", tmp_path / "in")
    assert collected(course, "ann") == WHOLE


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 nonsense", b"\x00" * 100])
def test_a_damaged_zip_file_is_refused_in_a_sentence(course, tmp_path, data):
    source = tmp_path / "in"
    source.mkdir()
    (source / "ann.zip").write_bytes(data)
    (result,) = collect(course, "hw1", source)
    assert "ann.zip is damaged" in result.refused


@pytest.mark.parametrize("name", ["..", "../x", "-rf", "a/b", "a b", "", ".hidden", "x" * 65, "a\n"])
def test_what_is_no_student_id_is_refused(name):
    with pytest.raises(Refused):
        check_student(name)


@given(st.text(max_size=70))
def test_an_accepted_id_is_one_plain_path_component(name):
    try:
        check_student(name)
    except Refused:
        return
    assert os.path.basename(name) == name
    assert os.path.normpath(name) == name
    assert not name.startswith((".", "-"))


def test_names_without_a_student_group_are_refused(course, tmp_path):
    with pytest.raises(CourseError, match=r"\(\?P<student>"):
        collect(course, "hw1", tmp_path, names=".*")


def commit(folder, date, text):
    (folder / "sums.py").write_text(text)
    environment = {**os.environ, "GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
    options = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for arguments in (("add", "-A"), (*options, "commit", "-qm", text)):
        subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True)


def test_the_last_commit_before_the_deadline_is_taken(course, tmp_path):
    repository = tmp_path / "repository"
    fill(repository)
    (repository / "link.py").symlink_to("/etc/passwd")
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    commit(repository, "2029-12-30T12:00:00Z", "first")
    commit(repository, "2029-12-31T12:00:00Z", "in time")
    commit(repository, "2030-01-01T00:00:01Z", "too late")
    table = tmp_path / "repositories.csv"
    table.write_text(f"student,url\nann,{repository}\nbob,{tmp_path}/nowhere\n-x,{repository}\n")
    results = {result.student: result for result in collect_git(course, "hw1", table)}
    assert (course / "submitted" / "ann" / "hw1" / "sums.py").read_text() == "in time"
    assert collected(course, "ann") == WHOLE
    assert results["ann"].timestamp == datetime(2029, 12, 31, 12, tzinfo=UTC)
    assert "git says" in results["bob"].refused
    assert "no student id" in results["-x"].refused


def test_a_repository_begun_after_the_deadline_is_refused(course, tmp_path):
    repository = tmp_path / "repository"
    fill(repository)
    subprocess.run(["git", "init", "-q"], cwd=repository, check=True)
    commit(repository, "2031-01-01T00:00:00Z", "late")
    table = tmp_path / "repositories.csv"
    table.write_text(f"ann,{repository}\n")
    (result,) = collect_git(course, "hw1", table)
    assert "no commit before 2030-01-01" in result.refused
