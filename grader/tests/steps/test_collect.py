"""Submissions from folders, zip files and git; nothing of them lands outside its own folder."""

import codecs
import os
import shutil
import stat
import struct
import time
import unicodedata
import zipfile
import zlib
from datetime import UTC, datetime

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.course import CourseError
from grader.steps.collect import archives, collect, collect_git, room, take, zip_entries
from grader.steps.collect import git as git_steps
from grader.steps.collect.addresses import check_address, parse_allowed
from grader.steps.collect.archives import unzip
from grader.steps.collect.dates import parse_date
from grader.steps.collect.git_says import why
from grader.steps.collect.room import Refused, Room
from grader.steps.collect.table import read_repositories
from grader.steps.collect.take import check_student
from grader.tests.attacks.host import ADDRESS, Host, commit, commit_path, git
from grader.tests.conftest import SUMS

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


def test_a_list_of_entries_without_end_is_not_read(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "list.zip", {f"{index}": b"" for index in range(30)})
    monkeypatch.setattr(archives, "_MOST_LISTED", 1000)
    monkeypatch.setattr(archives.zipfile, "ZipFile", None)
    with pytest.raises(Refused, match="lists too many files"):
        unzip(archive, tmp_path / "target", Room(()))


def test_notebooks_that_repeat_themselves_in_many_folders_share_the_room_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MAX_NOTEBOOK", 1 << 20)
    archive = zipped(tmp_path / "many.zip", {f"{i}/part1.ipynb": bytes(400_000) for i in range(9)})
    notes = unzip(archive, tmp_path / "target", Room({"part1.ipynb", "sums.py"}))
    written = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in written) <= 1 << 20
    assert len(written) == 2
    assert "7 files are left out" in notes[0]


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


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = Host(tmp_path / "host")
    monkeypatch.setenv("PATH", host.path)
    return host


def from_git(course, tmp_path, *lines, **more):
    (tmp_path / "repositories.csv").write_text("\n".join(lines), encoding="utf-8")
    more = {"allowed": [ADDRESS], "key": tmp_path / "host" / "key", **more}
    return {r.student: r for r in collect_git(course, "hw1", tmp_path / "repositories.csv", **more)}


def write_and_commit(folder, date, text):
    (folder / "sums.py").write_text(text)
    commit(folder, date)


def test_the_last_commit_before_the_deadline_is_taken(course, tmp_path, host):
    repository = host.folder("ann")
    (repository / "part1_sums.ipynb").write_text(NOTEBOOK)
    (repository / "link.py").symlink_to("/etc/passwd")
    write_and_commit(repository, "2029-12-30T12:00:00Z", "first")
    write_and_commit(repository, "2029-12-31T12:00:00Z", "in time")
    write_and_commit(repository, "2030-01-01T00:00:01Z", "too late")
    lines = [f"ann,{ADDRESS}/ann", f"bob,{ADDRESS}/nowhere", f"-x,{ADDRESS}/elsewhere"]
    results = from_git(course, tmp_path, "student,url", *lines)
    assert (course / "submitted" / "ann" / "hw1" / "sums.py").read_text() == "in time"
    assert collected(course, "ann") == WHOLE
    assert results["ann"].timestamp == datetime(2029, 12, 31, 12, tzinfo=UTC)
    assert any("link.py" in note and "not taken" in note for note in results["ann"].notes)
    assert "git says" in results["bob"].refused
    assert "no student id" in results["-x"].refused


def test_a_repository_begun_after_the_deadline_is_refused(course, tmp_path, host):
    write_and_commit(host.folder("ann"), "2031-01-01T00:00:00Z", "late")
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann")
    assert "no commit before 2030-01-01" in results["ann"].refused


@pytest.mark.parametrize(
    "address",
    [
        *(
            "{course}",
            "file://{course}",
            "..",
            ".",
            "../../repository",
            "{course}/.git",
            "ext::sh -c id",
            "git://h/c/a",
        ),
        *(
            "http://git.example.org/class/a",
            "--upload-pack=id",
            "git@-oProxyCommand=id:class/a",
            "-oX@h:class/a",
        ),
        *(
            "ssh://-oProxyCommand=id/class/a",
            "ssh://git@git.example.org/class/../course",
            "transport::https://h/a",
        ),
        *("https://me:secret@git.example.org/class/a", "https://git.example.org/class/%2e%2e/course"),
        *(
            "git@git.example.org:class/a?x",
            "git@git.example.org:class/a b",
            "https://git.example.org/class/a\\b",
        ),
        *("git@git.example.org:class/-a", "https://[::1]/class/a", "h:class/a", "x" * 600),
        "https://git.example.org/class/\u0430",
    ],
)
def test_what_is_no_plain_https_or_ssh_address_is_refused_and_never_reaches_git(
    course, tmp_path, host, address
):
    git(course, "init", "-q")
    commit(course)
    address = address.format(course=course)
    results = from_git(
        course, tmp_path, f'ann,"{address}"', allowed=[ADDRESS, "https://git.example.org/class"]
    )
    assert "is no address of a repository" in results["ann"].refused
    assert not host.log.exists()
    assert not (course / "submitted").exists()


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("git@git.example.org:class/ann", True),
        ("git@git.example.org:/class/ann/", True),
        ("ssh://git@GIT.example.org/class/deep/ann.git", True),
        ("git@git.example.org:classes/ann", False),
        ("git@git.example.org:class", False),
        ("git@git.example.org.evil.org:class/ann", False),
        ("me@git.example.org:class/ann", False),
        ("ssh://git@git.example.org:22/class/ann", False),
        ("https://git.example.org/class/ann", False),
        ("git@git.example.org:course/source", False),
    ],
)
def test_an_address_must_lie_below_what_from_says_piece_by_piece(address, inside):
    allowed = parse_allowed([ADDRESS])
    if inside:
        assert check_address(address, allowed).path[0] == "class"
    else:
        with pytest.raises(Refused, match="lies at no --from"):
            check_address(address, allowed)


def test_git_is_not_asked_before_somebody_says_where_repositories_lie(course, tmp_path, host):
    with pytest.raises(CourseError, match="say with --from"):
        from_git(course, tmp_path, f"ann,{ADDRESS}/ann", allowed=[])
    with pytest.raises(CourseError, match="neither an https nor an ssh address"):
        from_git(course, tmp_path, f"ann,{ADDRESS}/ann", allowed=["../class"])
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann", key=None)
    assert "ssh needs a key" in results["ann"].refused


def test_no_setting_key_or_word_of_the_instructors_reaches_git(course, tmp_path, host, monkeypatch):
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 1")
    home, ran = tmp_path / "home", tmp_path / "ran"
    home.mkdir()
    touch = f"touch {ran}"
    (home / ".gitconfig").write_text(
        f'[url "https://elsewhere.example.org/"]\n insteadOf = {ADDRESS}/\n[core]\n sshCommand = {touch}\n'
        f" fsmonitor = {touch}\n[credential]\n helper = !{touch}\n[init]\n templateDir = {home}\n"
    )
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in (
        "GIT_SSH_COMMAND",
        "GIT_SSH",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "GIT_EXTERNAL_DIFF",
        "GIT_PROXY_COMMAND",
    ):
        monkeypatch.setenv(name, touch)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("GRADER_TOKEN", "secret")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.sshCommand={touch}'")
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann")
    assert results["ann"].refused == ""
    assert not ran.exists()
    environment = (tmp_path / "host" / "log.environment").read_text()
    assert not [word for word in ("AUTH_SOCK", "secret", touch) if word in environment]
    asked = host.log.read_text().split()
    for option in ("BatchMode=yes", "IdentityAgent=none", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"):
        assert option in asked
    assert asked[:2] == ["-F", "none"]


def test_a_repository_too_large_or_without_end_is_refused_and_the_next_is_taken(
    course, tmp_path, host, monkeypatch
):
    large, endless = host.folder("large"), host.folder("endless")
    (large / "noise.bin").write_bytes(os.urandom(3 << 20))
    commit(large)
    # A few trees that each hold the one before ten times: a list of 10 to the 9th files.
    blob = git(endless, "hash-object", "-w", "--stdin", put_in="x")
    entry = f"100644 blob {blob}\t"
    for _ in range(9):
        listed = "".join(f"{entry}{name}\n" for name in "abcdefghij")
        entry = f"040000 tree {git(endless, 'mktree', put_in=listed)}\t"
    git(endless, "update-ref", "HEAD", git(endless, "commit-tree", "-m", "x", entry.split()[2]))
    write_and_commit(host.folder("bob"), "2029-01-01T00:00:00Z", "x = 1")
    monkeypatch.setattr(git_steps, "MOST_BYTES", 2 << 20)
    lines = [
        f"{name},{ADDRESS}/{folder}" for name, folder in (("a", "large"), ("b", "endless"), ("bob", "bob"))
    ]
    results = from_git(course, tmp_path, *lines)
    assert "takes more than 2 MiB" in results["a"].refused
    assert "takes more than 8 MiB" in results["b"].refused
    assert results["bob"].refused == ""


def test_a_host_that_never_answers_is_given_up_with_all_that_git_started(course, tmp_path, host, monkeypatch):
    pid = tmp_path / "pid"
    (tmp_path / "host" / "bin" / "ssh").write_text(f"#!/bin/sh\necho $$ > {pid}\nexec sleep 1000\n")
    monkeypatch.setattr(git_steps, "SECONDS", 3)
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann")
    assert "took git more than 3 s" in results["ann"].refused
    assert (
        not psutil.pid_exists(int(pid.read_text()))
        or psutil.Process(int(pid.read_text())).status() == "zombie"
    )


def test_a_student_in_two_lines_is_taken_from_neither(course, tmp_path, host):
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 1")
    write_and_commit(host.folder("eve"), "2029-01-01T00:00:00Z", "x = 2")
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann", f"ann,{ADDRESS}/eve")
    assert "more than one line" in results["ann"].refused
    assert not (course / "submitted").exists()


def test_a_repository_that_two_students_name_is_taken_for_neither(course, tmp_path, host):
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 1")
    write_and_commit(host.folder("bob"), "2029-01-01T00:00:00Z", "x = 2")
    lines = [f"ann,{ADDRESS}/ann", f"bob,{ADDRESS}/bob", f"eve,{ADDRESS}/ann.git/"]
    results = from_git(course, tmp_path, *lines)
    assert "is also named by eve" in results["ann"].refused
    assert "is also named by ann" in results["eve"].refused
    assert not results["bob"].refused
    assert [path.name for path in (course / "submitted").iterdir()] == ["bob"]


def test_a_copy_of_another_students_repository_is_noted(course, tmp_path, host):
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 1")
    shutil.copytree(host.root / "class" / "ann", host.root / "class" / "eve")
    results = from_git(course, tmp_path, f"ann,{ADDRESS}/ann", f"eve,{ADDRESS}/eve")
    assert any("the very commit of ann" in note for note in results["eve"].notes)


def test_the_courses_own_files_are_no_students_work_wherever_they_come_from(course, tmp_path, host):
    source = course / "source" / "hw1"
    shutil.copytree(source, host.folder("eve"), dirs_exist_ok=True)
    commit(host.root / "class" / "eve")
    shutil.copytree(source, tmp_path / "in" / "eve")
    fill(
        tmp_path / "in" / "ann",
        **{"sums.py": SUMS.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")},
    )
    fill(tmp_path / "in" / "bob", **{"mine.py": (source / "checks" / "part1_hidden.py").read_text()})
    told = "these are the course's own files, not a student's work"
    assert told in from_git(course, tmp_path, f"eve,{ADDRESS}/eve")["eve"].refused
    ann, bob, eve = collect(course, "hw1", tmp_path / "in")
    assert ann.refused == ""  # the same lines, without the marks that only the course's file has
    assert bob.refused == f"mine.py holds the hidden check total_of_the_empty_list_secretly: {told}"
    assert eve.refused == f"sums.py holds the reference solution of sums.py: {told}"


LEFT = (
    *("nbgrader_config.py", "deep/NBGRADER_CONFIG.PY", "nbgrader_config.json", "course.toml", "gradebook.db"),
    *("jupyter_config.py", "jupyter_server_config.json", "ipython_config.py", "ipython_kernel_config.py"),
    *(
        "sitecustomize.py",
        "usercustomize/__init__.py",
        "conftest.py",
        "deep/conftest.cpython-311.so",
        "pytest.ini",
        "jupytext.toml",
        "deep/MatplotlibRC",
    ),
    *(
        "setup.cfg",
        "tox.ini",
        "pyproject.toml",
        "HEAD",
        "checks/part1_public.py",
        "Checks/a.py",
        "timestamp.txt/a",
    ),
)
UNSEEN = (
    *(
        ".ipython/profile_default/startup/00.py",
        ".jupyter/jupyter_config.py",
        ".git/config",
        ".gitattributes",
    ),
    *(
        ".gitmodules",
        ".envrc",
        ".pdbrc",
        ".vscode/tasks.json",
        "deep/.git/hooks/post-checkout",
        ".venv/bin/python",
    ),
)
KEPT = (
    "model_config.py",
    "deep/checks/a.py",
    "setup.py",
    "heads.txt",
    "a.head",
    "weights.pth",
    "course.toml.md",
)


@pytest.mark.parametrize("how", ["folder", "zip", "git"])
def test_what_a_program_would_run_or_read_is_not_taken(course, tmp_path, host, how):
    files = {
        "sums.py": "x = 1\n",
        "part1_sums.ipynb": NOTEBOOK,
        **dict.fromkeys((*LEFT, *UNSEEN, *KEPT), "x"),
    }
    place = host.folder("ann") if how == "git" else tmp_path / "in" / "ann"
    (tmp_path / "in").mkdir()
    if how == "zip":
        zipped(tmp_path / "in" / "ann.zip", files)
    else:
        for name, text in files.items():
            if how == "git" and name.startswith((".git/", "deep/.git")):
                continue
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    if how == "git":
        commit(place, "2029-01-01T00:00:00Z")
        result = from_git(course, tmp_path, f"ann,{ADDRESS}/ann")["ann"]
    else:
        (result,) = collect(course, "hw1", tmp_path / "in")
    assert result.refused == ""
    assert collected(course, "ann") == {*WHOLE, *KEPT}
    assert "HEAD: not taken, a program would run it or take settings from it" in result.notes
    assert any(
        note.endswith("more files that programs take settings from, not taken") for note in result.notes
    )
    assert "the folder checks is not taken; the course has its own" in result.notes


@pytest.mark.parametrize("name", ["{outside}/evil", "//{outside}/evil", "../evil", "a/../../evil"])
def test_a_name_in_a_tree_made_by_hand_leads_nowhere(course, tmp_path, host, name):
    repository = host.folder("eve")
    write_and_commit(repository, "2029-01-01T00:00:00Z", "x = 1")
    (tmp_path / "outside").mkdir()
    commit_path(repository, name.format(outside=tmp_path / "outside"), "evil", "2029-01-01T00:00:00Z")
    result = from_git(course, tmp_path, f"eve,{ADDRESS}/eve")["eve"]
    assert [path for path in tmp_path.rglob("*") if path.name == "evil"] == []
    assert collected(course, "eve") == WHOLE
    assert any("not taken" in note for note in result.notes)  # long names are shortened


@pytest.mark.parametrize(
    ("when", "why"), [("", "has no date"), (" soon", "has no date"), (f" {10**20} +0000", "no commit before")]
)
def test_a_commit_without_a_date_stops_nobody(course, tmp_path, host, when, why):
    repository = host.folder("eve")
    write_and_commit(repository, "2029-01-01T00:00:00Z", "x = 1")
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 2")
    text = git(repository, "cat-file", "commit", "HEAD").replace(" 1861920000 +0000", when) + "\n"
    new = git(repository, "hash-object", "-t", "commit", "-w", "--literally", "--stdin", put_in=text)
    reference = git(repository, "symbolic-ref", "HEAD")
    (repository / ".git" / reference).write_text(f"{new}\n")
    results = from_git(course, tmp_path, f"eve,{ADDRESS}/eve", f"ann,{ADDRESS}/ann")
    assert why in results["eve"].refused
    assert not results["ann"].refused


def test_a_submission_that_trips_us_stops_nobody(course, tmp_path, monkeypatch):
    for student in ("ann", "eve"):
        fill(tmp_path / "in" / student)
    (tmp_path / "in" / "eve" / "sums.py").write_text("trips")
    monkeypatch.setattr(take, "refuse_own", lambda _, files: 1 / (files["sums.py"].read_text() != "trips"))
    ann, eve = collect(course, "hw1", tmp_path / "in")
    assert not ann.refused
    assert eve.refused == "could not be collected: ZeroDivisionError: division by zero"


# --- what programs make of a class, a zip file, a name and a date ---------------------------------------------


class Entry(zipfile.ZipInfo):
    """An entry whose name is these bytes, and marked as Unicode only where `flag` says so."""

    raw, flag = b"", 0

    def _encodeFilenameFlags(self):
        return self.raw, self.flag


def zipped_raw(path, names, *, system=3, extra=b"", data="x = 1\n", date=(2027, 1, 2, 3, 4, 6)):
    """Write a zip file of names in bytes, as no program of ours would."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            entry = Entry(f"{number}", date)
            entry.raw, entry.create_system = name, system
            entry.extra = extra(name) if callable(extra) else extra
            archive.writestr(entry, data)
    return path


def of_class(*students, around="", more=()):
    work = {"sums.py": "x = 1\n", "part1_sums.ipynb": NOTEBOOK}
    files = {f"{around}{student}/{name}": text for student in students for name, text in work.items()}
    return {**files, **dict.fromkeys(more, "x")}


def by_name(results):
    return {result.student: result for result in results}


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (of_class("ann", "bob", around="in/", more=["in/.DS_Store", "__MACOSX/in/._.DS_Store"]), []),
        (of_class("ann", "bob", around="in/", more=["in/Thumbs.db", "in/ann/desktop.ini"]), []),
        (
            of_class("ann", "bob", around="in/", more=["in/submission_metadata.yml"]),
            ["submission_metadata.yml"],
        ),
        (of_class("ann", "bob", around="in/", more=["read me.txt"]), ["read me.txt"]),
        (of_class("ann", "bob", around="Users/me/in/", more=["Users/me/grades.csv"]), ["grades.csv"]),
        (of_class("ann", "bob", around="in\\", more=["in\\a.pdf"]), ["a.pdf"]),
        (of_class("ann/hw/deep", "bob/My homework", around="in/", more=["in/a.txt"]), ["a.txt"]),
        (of_class("ann", "bob", around="./in/", more=["in/index.html", "./"]), ["index.html"]),
    ],
)
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_class_with_a_folder_around_it_is_not_one_student_whatever_lies_beside(
    course, tmp_path, files, named, unpacked
):
    source = zipped(tmp_path / "handed-in.zip", files)
    if unpacked:
        unzip(source, tmp_path / "in", Room((), any_name=True))
        source = tmp_path / "in"
    results = by_name(collect(course, "hw1", source))
    assert sorted(results) == sorted(["ann", "bob", *named])
    assert collected(course, "ann") == collected(course, "bob") == WHOLE
    assert all("neither a folder nor a zip file" in results[name].refused for name in named)


@pytest.mark.parametrize(
    "files",
    [
        {"ann/code/sums.py": "x = 1\n", "ann/part1_sums.ipynb": NOTEBOOK, "ann/data/a.csv": "1"},
        {
            "ann/My homework/sums.py": "x = 1\n",
            "ann/My homework/part1_sums.ipynb": NOTEBOOK,
            "ann/.DS_Store": "x",
        },
        {
            "ann/sums.py": "x = 1\n",
            "ann/part1_sums.ipynb": NOTEBOOK,
            "ann/old/sums.py": "x",
            "ann/older/sums.py": "x",
        },
    ],
)
def test_one_student_with_folders_is_not_a_class(course, tmp_path, files):
    assert list(by_name(collect(course, "hw1", zipped(tmp_path / "late.zip", files)))) == ["ann"]
    assert collected(course, "ann") >= WHOLE


def test_one_student_with_two_copies_is_told_which_one_counts(course, tmp_path):
    for place in ("ann", "ann/old", "bob/hw", "bob/old"):
        fill(tmp_path / "in" / place)
    ann, bob = collect(course, "hw1", tmp_path / "in")
    assert "old/sums.py: does not count, sums.py does" in ann.notes
    assert "hw/sums.py: not taken, what was asked for lies in old" in bob.notes
    shutil.rmtree(tmp_path / "in" / "ann")
    assert [result.student for result in collect(course, "hw1", tmp_path / "in")] == ["bob"]


def test_names_say_which_folder_is_a_student_where_the_class_has_one(course, tmp_path):
    source = zipped(tmp_path / "a.zip", of_class("Jane_4711_assignsubmission_file", around="export/"))
    results = collect(course, "hw1", source, names=r"[^_]+_(?P<student>\d+)_.*")
    assert [(result.student, result.refused) for result in results] == [("4711", "")]


@pytest.mark.parametrize(
    "name", ["ann 2026-02-01 20:30:10", "ann: hw", "ann <x> | y?", "ann 8:30 PM. ", "ann " + "x" * 200]
)
def test_a_student_whose_folder_has_signs_that_windows_forbids_is_collected(course, tmp_path, name):
    source = zipped(tmp_path / "class.zip", of_class(name, "bob y"))
    results = by_name(collect(course, "hw1", source, names=r"(?P<student>\w+)\W.*"))
    assert sorted(results) == ["ann", "bob"]
    assert collected(course, "ann") == WHOLE


LINK = zipfile.ZipInfo("ann/part1_sums.ipynb")
LINK.external_attr = (stat.S_IFLNK | 0o777) << 16


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (["ann" + "x" * 300 + "/sums.py"], "name cannot be used"),
        (["ann" + "ы" * 150 + "/.DS_Store"], "name cannot be used"),
        (["ann" + "x" * 300 + "/"], "name cannot be used"),
        (["/ann/sums.py"], "leads out of the folder"),
        (["..\\ann\\sums.py"], "leads out of the folder"),
        (["C:\\in\\ann\\sums.py"], "leads out of the folder"),
        ([LINK], "a link or a special file"),
        (["ann/"], "holds no files"),
        (["ann/.DS_Store", "__MACOSX/ann/._.DS_Store"], "holds no files"),
        (["ann/conftest.py"], "a program would run it"),
        ([".ann/sums.py"], "begins with a dot"),
        (["ann.7z"], "unpack the archive"),
        (["ann.tar.gz"], "unpack the archive"),
        (["ann b/sums.py"], "no student id"),
        (["ann.ipynb"], "neither a folder nor a zip file"),
    ],
)
@pytest.mark.parametrize("around", ["", "in/"])
def test_whoever_cannot_be_collected_is_named(course, tmp_path, entries, told, around):
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        for name, data in of_class("bob", "eve", around=around).items():
            archive.writestr(name, data)
        for entry in entries:
            if isinstance(entry, str) and entry[0] not in "/.C_":
                entry = around + entry
            archive.writestr(entry, "x")
    results = by_name(collect(course, "hw1", tmp_path / "class.zip"))
    assert results.keys() > {"bob", "eve"}
    assert not results["bob"].refused
    (other,) = [result for name, result in results.items() if name not in ("bob", "eve")]
    assert told in " ".join([other.refused, *other.notes])
    assert other.refused


@pytest.mark.parametrize("how", ["folder", "zip", "class"])
def test_every_file_that_is_left_out_is_named(course, tmp_path, monkeypatch, how):
    monkeypatch.setattr(Room.__init__, "__defaults__", (5, 1 << 20))
    names = [
        "hw/.secret/a",
        "hw/.env",
        "hw/a.txt",
        "hw/HEAD",
        "report.pdf",
        "b",
        "c/d",
        "hw/.vscode/settings.json",
    ]
    files = {**of_class("ann/hw"), **{f"ann/{name}": "x" for name in names}}
    (tmp_path / "in").mkdir()
    if how == "class":
        source = zipped(tmp_path / "class.zip", {**files, **of_class("bob")})
    elif how == "zip":
        zipped(tmp_path / "in" / "ann.zip", {name.removeprefix("ann/"): text for name, text in files.items()})
        source = tmp_path / "in"
    else:
        unzip(zipped(tmp_path / "a.zip", files), tmp_path / "in", Room((), 100, any_name=True))
        for name in ("ann/hw/.secret/a", "ann/hw/.env"):
            (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "in" / name).write_text("x")
        source = tmp_path / "in"
    notes = "; ".join(by_name(collect(course, "hw1", source))["ann"].notes)
    notes = notes.replace("ann/hw/", "hw/")
    assert "hw/.secret: not taken, its name begins with a dot" in notes
    assert "hw/.env: not taken, its name begins with a dot" in notes
    assert "hw/HEAD: not taken" in notes
    assert "report.pdf: not taken, what was asked for lies in hw" in notes
    assert ".vscode" not in notes
    assert "1 file is left out" in notes
    assert "(hw/a.txt)" in notes


DATES = {
    "2024-01-30-20-30-10": (2024, 1, 30, 20, 30, 10),  # Blackboard, nbgrader's zip_collect
    "2024-01-30T20:30:10+02:00": (2024, 1, 30, 18, 30, 10),
    "20240130T203010Z": (2024, 1, 30, 20, 30, 10),
    "20240130203010": (2024, 1, 30, 20, 30, 10),
    "2024-01-30-203010": (2024, 1, 30, 20, 30, 10),
    "2024_01_30_20_30_10": (2024, 1, 30, 20, 30, 10),
    "2024-01-30 20.30.10": (2024, 1, 30, 20, 30, 10),
    "2024-01-30 at 8.30.10 PM": (2024, 1, 30, 20, 30, 10),
    "2024-01-30 20:30:10.948203 UTC": (2024, 1, 30, 20, 30, 10),
    "2024-01-30-20-30-10-0500": (2024, 1, 31, 1, 30, 10),
    "Jan 30, 2024 830 PM": (2024, 1, 30, 20, 30, 0),  # Brightspace
    "Tuesday, 30 January 2024, 12:05 AM": (2024, 1, 30, 0, 5, 0),  # Moodle
    "30.01.2024 20.30": (2024, 1, 30, 20, 30, 0),
    "01-30-2024": (2024, 1, 30, 0, 0, 0),
    "5-5-2024": (2024, 5, 5, 0, 0, 0),
}


@pytest.mark.parametrize("text", DATES)
def test_a_date_in_a_name_is_that_date(text):
    assert parse_date(text) == datetime(*DATES[text], tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "03-04-2024",
            "3/4/2024 10:00",
            "24-01-30",
            "1706646610",
            "2024-02-30",
            "2024-13-01",
            "2024-01-30 24:10",
        ),
        *(
            "2024-01-30 20:30:10 EST",
            "2024-01-30 13:00 PM",
            "2024-01-30-20-30-0500",
            "30 Foo 2024",
            "20-30-10",
        ),
        *(
            "2024-01-3020:30",
            "2024-01-30 20:61",
            "2024",
            "January 2024",
            "2024-01-30 20:30 +99:00",
            "-",
            "20241",
        ),
        *("2024-01-30 20", "2024-01-30-20-30-10-05", "attempt 3"),
    ],
)
def test_what_may_be_two_dates_or_none_is_refused(course, tmp_path, text):
    with pytest.raises(ValueError, match="2027-01-30 20:30:10"):
        parse_date(text)
    name = f"ann at {text.replace('/', '.')}"
    fill(tmp_path / "in" / name)
    (result,) = collect(course, "hw1", tmp_path / "in", names=r"(?P<student>\w+) at (?P<timestamp>.*)")
    assert "correct --names" in result.refused


@given(st.datetimes(datetime(1970, 1, 1), datetime(2099, 1, 1)).map(lambda date: date.replace(microsecond=0)))
def test_a_date_is_the_same_in_every_form(date):
    forms = "%Y-%m-%d-%H-%M-%S", "%Y%m%d%H%M%S", "%Y%m%dT%H%M%SZ", "%d %B %Y %I.%M.%S %p", "%b %d, %Y %H%M%S"
    assert {parse_date(date.strftime(form)) for form in forms} == {date.replace(tzinfo=UTC)}


@pytest.mark.parametrize(
    "name", [".DS_Store", "Thumbs.db", "._sums.py", ".ipynb_checkpoints/part1_sums.ipynb"]
)
def test_the_date_of_what_a_file_manager_left_does_not_count(course, tmp_path, name):
    fill(tmp_path / "in" / "ann")
    for path in (tmp_path / "in" / "ann").iterdir():
        os.utime(path, (1_800_000_000, 1_800_000_000))
    (tmp_path / "in" / "ann" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / "ann" / name).write_text("today")
    os.utime(tmp_path / "in" / "ann" / name, (1_900_000_000, 1_900_000_000))
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert result.timestamp == datetime.fromtimestamp(1_800_000_000, UTC)


def test_a_zip_file_without_dates_is_said_to_have_none(course, tmp_path):
    zipped_raw(tmp_path / "class.zip", [b"ann/sums.py"], date=(1980, 1, 1, 0, 0, 0))
    (result,) = collect(course, "hw1", tmp_path / "class.zip")
    assert any("holds no dates" in note for note in result.notes)


MOODLE = r"[^_]+_(?P<student>\d+)_.*"


@pytest.mark.parametrize(
    ("files", "taken", "left"),
    [
        (
            {"A_1_assignsubmission_file/": 1, "A_1_assignsubmission_onlinetext/onlinetext.html": 2},
            "file",
            "onlinetext",
        ),
        (
            {"A_1_assignsubmission_onlinetext/onlinetext.html": 1, "A_1_assignsubmission_file/": 2},
            "file",
            "onlinetext",
        ),
        (
            {"A_1_assignsubmission_afile/hw.zip": 1, "A_1_assignsubmission_comments/a.txt": 2},
            "afile",
            "comments",
        ),
        ({"A_1_assignsubmission_afile/hw.7z": 1, "A_1_assignsubmission_text/a.html": 2}, "afile", "text"),
        ({"A_1_attempt_a/": 2, "A_1_attempt_b/": 1}, "attempt_a", "attempt_b"),
        ({"A_1_late_a/x.ipynb": 2, "A_1_attempt_b/": 1}, "late_a", "attempt_b"),
        ({"A_1_attempt_b.zip": 1, "A_1_notes_c/a.md": 2}, "attempt_b", "notes_c"),
    ],
)
def test_of_a_students_folders_the_last_with_work_counts_and_the_others_are_named(
    course, tmp_path, files, taken, left
):
    for name, day in files.items():
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for place in (path / "sums.py", path / "part1_sums.ipynb") if name.endswith("/") else (path,):
            place.parent.mkdir(exist_ok=True)
            if place.suffix == ".zip":
                zipped(place, {"sums.py": "x = 1\n", "part1_sums.ipynb": NOTEBOOK})
            else:
                place.write_text(NOTEBOOK if place.suffix == ".ipynb" else "x = 1\n")
            os.utime(place, (1_800_000_000 + day, 1_800_000_000 + day))
    (result,) = collect(course, "hw1", tmp_path / "in", names=MOODLE)
    (note,) = [note for note in result.notes if note.startswith("A_1_") and ": not taken, A_1_" in note]
    assert left in note.partition(":")[0]
    assert taken in note.partition(": not taken, ")[2]
    assert result.timestamp == datetime.fromtimestamp(
        1_800_000_000 + [*files.values()][[*files].index(next(name for name in files if taken in name))], UTC
    )


def test_a_text_typed_into_a_form_is_taken_where_there_is_nothing_else(course, tmp_path):
    fill(tmp_path / "in" / "A_1_assignsubmission_onlinetext")
    (tmp_path / "in" / "B_2_assignsubmission_onlinetext").mkdir()
    (tmp_path / "in" / "B_2_assignsubmission_onlinetext" / "onlinetext.html").write_text("my answer")
    results = by_name(collect(course, "hw1", tmp_path / "in", names=MOODLE))
    assert collected(course, "1") == WHOLE
    assert "sums.py is missing; handed in: onlinetext.html" in results["2"].notes


def inner(tmp_path, **files):
    files = files or {"sums.py": "x = 1\n", "part1_sums.ipynb": NOTEBOOK}
    return zipped(tmp_path / "inner.zip", files).read_bytes()


@pytest.mark.parametrize(
    "beside",
    [
        {"hw.zip": "whole", ".DS_Store": "x"},
        {"hw.zip": "whole", "readme.txt": "x"},
        {"Hw.ZIP": "whole", "readme.txt": "x", "Thumbs.db": "x"},
        {"My homework/hw.zip": "whole", "My homework/report.pdf": "x", "data/a.csv": "1"},
        {"hw.zip": "whole", "old.zip": "other"},
        {"hw.zip": "module", "part1_sums.ipynb": NOTEBOOK},
        {"a.zip": "module", "b.zip": "notebook"},
        {"outer.zip": "nested", "readme.txt": "x"},
        {"hw.zip": "whole", "broken.zip": "PK no zip file"},
        {"hw.zip": "whole", "data.7z": "7z"},
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_lies_in_a_zip_file_is_taken_whatever_lies_beside_it(course, tmp_path, beside, packed):
    module, notebook = {"sums.py": "x = 1\n"}, {"hw/part1_sums.ipynb": NOTEBOOK}
    zips = {
        "module": module,
        "notebook": notebook,
        "other": {"x.txt": "x"},
        "whole": {**module, "part1_sums.ipynb": NOTEBOOK},
    }
    zips = {name: zipped(tmp_path / "a.zip", files).read_bytes() for name, files in zips.items()}
    zips["nested"] = zipped(tmp_path / "a.zip", {"b/hw.zip": zips["whole"]}).read_bytes()
    files = {name: zips.get(what, what) for name, what in beside.items()}
    if packed:
        (tmp_path / "in").mkdir()
        zipped(tmp_path / "in" / "ann.zip", files)
    else:
        for name, data in files.items():
            (tmp_path / "in" / "ann" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / "ann" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert collected(course, "ann") >= WHOLE
    assert (course / "submitted" / "ann" / "hw1" / "sums.py").read_text() == "x = 1\n"
    assert not [note for note in result.notes if "missing" in note]


def test_of_two_zip_files_the_newer_counts_and_what_lies_beside_stays_and_both_are_said(course, tmp_path):
    folder = tmp_path / "in" / "ann"
    folder.mkdir(parents=True)
    for age, name in enumerate(("c_new.zip", "a_old.zip", "b_older.zip")):
        zipped(folder / name, {"sums.py": name, "part1_sums.ipynb": NOTEBOOK, "notes.txt": name})
        os.utime(folder / name, (1_800_000_000 - age, 1_800_000_000 - age))
    (folder / "notes.txt").write_text("beside")
    (result,) = collect(course, "hw1", tmp_path / "in")
    submitted = course / "submitted" / "ann" / "hw1"
    assert (submitted / "sums.py").read_text() == "c_new.zip"
    assert (submitted / "notes.txt").read_text() == "beside"
    notes = "; ".join(result.notes)
    assert "notes.txt: not taken from c_new.zip, it lies beside it" in notes
    assert "a_old.zip: not unpacked, part1_sums.ipynb, sums.py was handed in beside it" in notes
    assert "b_older.zip: not unpacked" in notes


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04 nonsense", b"Rar!\x1a\x07\x01\x00" + bytes(50), b"password"]
)
def test_a_zip_file_that_cannot_be_opened_is_named_beside_other_files(course, tmp_path, data):
    if data == b"password":
        made = bytearray(inner(tmp_path))
        for at in (made.find(b"PK\x01\x02"), made.rfind(b"PK\x01\x02")):
            made[at + 8] |= 1
        data = bytes(made)
    for name in ("ann", "bob"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "hw.zip").write_bytes(data)
        (tmp_path / "in" / name / "readme.txt").write_text("x")
    fill(tmp_path / "more")
    shutil.copytree(tmp_path / "more", tmp_path / "in" / "bob", dirs_exist_ok=True)
    ann, bob = collect(course, "hw1", tmp_path / "in")
    assert "hw.zip" in ann.refused
    assert not bob.refused
    assert collected(course, "bob") >= WHOLE


def test_zip_files_among_others_have_the_limits_of_one_submission(course, tmp_path, monkeypatch):
    monkeypatch.setattr(Room.__init__, "__defaults__", (9, 1 << 20))
    (tmp_path / "in" / "ann").mkdir(parents=True)
    for number in range(4):
        many = {f"{number}/{index}": "x" for index in range(5)} | {"more.zip": "PK"}
        zipped(tmp_path / "in" / "ann" / f"{number}.zip", many)
    (tmp_path / "in" / "ann" / "readme.txt").write_text("x")
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert len(collected(course, "ann")) <= 9 + 2  # the date, and the notebook that the course puts there
    assert any("left out" in note for note in result.notes)


def unicode_path(raw, name, crc=None):
    field = b"\x01" + struct.pack("<I", zlib.crc32(raw) if crc is None else crc) + name.encode()
    return struct.pack("<HH", 0x7075, len(field)) + field


@pytest.mark.parametrize("name", ["Jürgen", "Иванов", "São", "山田", "김철수", "Łukasz", "Ωmega"])
@pytest.mark.parametrize("how", ["UTF-8 without the flag", "0x7075", "decomposed", "from DOS"])
def test_a_name_in_unicode_is_that_name_whatever_the_flag_says(course, tmp_path, name, how):
    raw = unicodedata.normalize("NFD" if how == "decomposed" else "NFC", name).encode()
    extra = b""
    if how == "0x7075":
        raw = name.encode("cp850", "replace").replace(b"?", b"_") + b"\xfe"
        extra = lambda entry: unicode_path(entry, entry.decode("cp850").replace(raw.decode("cp850"), name))  # noqa: E731
    names = [raw + b"/sums.py", raw + b"/part1_sums.ipynb", b"bob/sums.py"]
    zipped_raw(tmp_path / "class.zip", names, extra=extra, system=0 if how == "from DOS" else 3)
    results = by_name(collect(course, "hw1", tmp_path / "class.zip"))
    assert sorted(results) == sorted([name, "bob"])
    assert not any("was read as" in note for note in results[name].notes)


@pytest.mark.parametrize(
    ("name", "encoding", "system"),
    [
        ("Jürgen", "cp437", 0),
        ("José", "cp850", 0),
        ("João", "cp850", 11),
        ("Jürgen", "cp1252", 3),
        ("Sánchez", "cp1252", 3),
        ("Иванов", "cp866", 0),
        ("Иванов", "cp866", 3),
        ("Петров", "cp1251", 0),
        ("山田太郎", "cp932", 0),
        ("张伟", "gbk", 0),
    ],
)
def test_a_name_in_a_code_page_is_guessed_and_a_note_says_so(course, tmp_path, name, encoding, system):
    raw = name.encode(encoding)
    zipped_raw(
        tmp_path / "class.zip",
        [raw + b"/sums.py", raw + b"\\part1_sums.ipynb", b"bob/sums.py"],
        system=system,
    )
    results = by_name(collect(course, "hw1", tmp_path / "class.zip"))
    assert sorted(results) == sorted([name, "bob"])
    assert any("not marked as Unicode and was read as" in note for note in results[name].notes)
    assert not any("was read as" in note for note in results["bob"].notes)


def test_a_guess_looks_at_few_and_short_pieces_of_names_made_to_be_long(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(zip_entries, "_oddities", lambda name: seen.append(len(name)) or 0)
    names = [bytes(range(0x80, 0xF0)) * 500 + b"%d" % number for number in range(60)]
    names += [b"/".join(b"%d\x81" % part for part in range(5000))]
    notes = unzip(zipped_raw(tmp_path / "a.zip", names), tmp_path / "out", Room({"sums.py"}))
    assert 0 < sum(seen) < 300_000  # of thirty million
    assert "its name cannot be used" in "; ".join(notes)


def test_a_field_left_from_an_earlier_name_does_not_rename(course, tmp_path):
    zipped_raw(tmp_path / "class.zip", [b"ann/sums.py"], extra=unicode_path(b"", "eve/sums.py", crc=1))
    assert [result.student for result in collect(course, "hw1", tmp_path / "class.zip")] == ["ann"]


@pytest.mark.parametrize("how", ["folder", "zip", "class", "inner", "git"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("name", ["problème.ipynb", "Übung 1.ipynb", "йод.ipynb", "한글.ipynb"])
def test_a_name_is_the_same_in_both_forms_of_unicode(course, tmp_path, host, how, forms, name):
    ours, theirs = (unicodedata.normalize(form, name) for form in forms)
    (course / "release" / "hw1" / ours).write_text(NOTEBOOK)
    work = NOTEBOOK.replace("[]", "[ ]")
    files = {"sums.py": "x = 1\n", "part1_sums.ipynb": NOTEBOOK, theirs: work}
    place = host.folder("ann") if how == "git" else tmp_path / "in" / "ann"
    if how in ("folder", "git"):
        place.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (place / file).write_text(text)
    else:
        (tmp_path / "in" / "ann").mkdir(parents=True)
        zipped(tmp_path / "in" / "ann.zip", files)
    if how == "git":
        commit(place, "2029-01-01T00:00:00Z")
        result = from_git(course, tmp_path, f"ann,{ADDRESS}/ann")["ann"]
    else:
        source = tmp_path / "in"
        if how == "inner":
            shutil.move(source / "ann.zip", source / "ann" / "hw.zip")
            (source / "ann" / "readme.txt").write_text("x")
        elif how == "class":
            source = zipped(tmp_path / "class.zip", {f"ann/{file}": text for file, text in files.items()})
        elif how == "zip":
            (source / "ann").rmdir()
        (result,) = collect(course, "hw1", source)
    assert not [note for note in result.notes if "missing" in note]
    assert (course / "submitted" / "ann" / "hw1" / ours).read_text() == work
    assert collected(course, "ann") - {"readme.txt"} == {*WHOLE, ours}


def test_two_names_that_are_one_in_unicode_are_one_file_and_the_other_is_named(course, tmp_path):
    fill(tmp_path / "in" / "ann", **{"é.txt": "one", "e\u0301.txt": "two"})
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert len(collected(course, "ann")) == 4
    assert any("another file has its name, not taken" in note for note in result.notes)


def test_names_match_a_pattern_in_either_form_of_unicode(course, tmp_path):
    fill(tmp_path / "in" / "U\u0308bung Ju\u0308rgen")
    (result,) = collect(course, "hw1", tmp_path / "in", names=r"Übung (?P<student>\w+)")
    assert result.student == "Jürgen"


SECONDS = 1_706_664_600  # 2024-01-31 01:30:00 UTC
NTFS = struct.pack("<HHIHHQQQ", 0x000A, 32, 0, 1, 24, (SECONDS + 11_644_473_600) * 10**7, 0, 0)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize(
    ("extra", "utc"),
    [
        (struct.pack("<HHBi", 0x5455, 5, 1, SECONDS), True),
        (struct.pack("<HHBii", 0x5455, 9, 3, SECONDS, 0), True),
        (NTFS, True),
        (struct.pack("<HHii", 0x5855, 8, 0, SECONDS), True),
        (struct.pack("<HHiihh", 0x000D, 12, 0, SECONDS, 0, 0), True),
        (struct.pack("<HHI", 0x7875, 4, 0) + struct.pack("<HHBi", 0x5455, 5, 1, SECONDS) + NTFS, True),
        (b"", False),
        (struct.pack("<HHBi", 0x5455, 5, 2, SECONDS), False),  # another time than that of the change
        (struct.pack("<HHBi", 0x5455, 5, 1, 0), False),
        (struct.pack("<HHB", 0x5455, 1, 1), False),
        (struct.pack("<HHI", 0x000A, 4, 0), False),
    ],
)
def test_a_time_in_utc_is_the_same_in_every_zone(course, tmp_path, monkeypatch, zone, extra, utc):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        local = (2024, 1, 30, 20, 30, 0)
        zipped_raw(tmp_path / "class.zip", [b"ann/sums.py", b"bob/sums.py"], extra=extra, date=local)
        results = collect(course, "hw1", tmp_path / "class.zip")
        right = datetime.fromtimestamp(SECONDS, UTC) if utc else datetime(*local).astimezone(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [result.timestamp for result in results] == [right, right]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("hw.tar.gz", b"\x1f\x8b", "hw.tar.gz: an archive (tar.gz) that is not unpacked"),
        ("hw.7z", b"7z\xbc\xaf\x27\x1c", "hw.7z: an archive (7z)"),
        ("HW.RAR", b"Rar!\x1a\x07", "HW.RAR: an archive (rar)"),
        ("hw.tgz", b"no archive", "hw.tgz: an archive (tgz)"),
        ("hw", b"Rar!\x1a\x07\x01", "hw: an archive (rar)"),
        ("homework.tar", bytes(257) + b"ustar", "homework.tar: an archive (tar)"),
        ("Copy of part1_sums.ipynb", b"{}", "is it Copy of part1_sums.ipynb?"),
        ("Kopie von part1_sums.ipynb", b"{}", "is it Kopie von part1_sums.ipynb?"),
        ("part1_sums-Copy1.ipynb", b"{}", "is it part1_sums-Copy1.ipynb?"),
        ("part1_sums copy.ipynb", b"{}", "is it part1_sums copy.ipynb?"),
        ("part1_sums.ipynb.txt", b"{}", "is it part1_sums.ipynb.txt?"),
        ("part1_sum.ipynb", b"{}", "is it part1_sum.ipynb?"),
        ("PART1_SUMS.IPYNB", b"{}", "is it PART1_SUMS.IPYNB?"),
        ("Untitled.ipynb", b"{}", "is it Untitled.ipynb?"),
        ("answers.pdf", b"%PDF", "part1_sums.ipynb is missing; handed in: answers.pdf"),
    ],
)
def test_what_was_handed_in_instead_is_named(course, tmp_path, name, data, told):
    (tmp_path / "in" / "ann").mkdir(parents=True)
    (tmp_path / "in" / "ann" / "sums.py").write_text("x = 1\n")
    (tmp_path / "in" / "ann" / name).write_bytes(data)
    (result,) = collect(course, "hw1", tmp_path / "in")
    assert any(told in note for note in result.notes), result.notes
    assert "part1_sums.ipynb is missing" in "; ".join(result.notes)


@pytest.mark.parametrize("name", ["class.tar.gz", "class.7z", "repositories.xlsx", "class.zip"])
def test_a_class_in_another_archive_is_refused_in_a_sentence(course, tmp_path, name):
    path = zipped(tmp_path / name, {"xl/workbook.xml": "x"})
    if not name.endswith("xlsx"):
        path.write_bytes(
            {"gz": b"\x1f\x8b", "7z": b"7z\xbc\xaf\x27\x1c", "ip": b"Rar!\x1a\x07"}[name[-2:]] + bytes(90)
        )
    with pytest.raises(CourseError, match="spreadsheet" if name.endswith("x") else "no zip file"):
        collect(course, "hw1", path)


ADDRESS_OF_ANN = f"{ADDRESS}/ann"
TABLES = {
    "cp1252": f"student,url,name\nann,{ADDRESS_OF_ANN},Müller\n".encode("cp1252"),
    "cp1251": f"student;url;name\nann;{ADDRESS_OF_ANN};Анна\n".encode("cp1251"),
    "mac": f"student,url,name\rann,{ADDRESS_OF_ANN},Müller\r".encode("mac_roman"),
    "utf-16": f"student\turl\tname\nann\t{ADDRESS_OF_ANN}\tMüller\n".encode("utf-16"),
    "utf-16, semicolons": f"student;url\r\nann;{ADDRESS_OF_ANN}\r\n;\r\n".encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + f"ann,{ADDRESS_OF_ANN}\n".encode("utf-16-be"),
    "utf-16 without a mark": f"ann\t{ADDRESS_OF_ANN}\n".encode("utf-16-le"),
    "utf-8 with a mark": f"student,url,name\nann,{ADDRESS_OF_ANN},Мария\n".encode("utf-8-sig"),
    "sep": f'sep=;\nname;student;url\n"M; A";ann;{ADDRESS_OF_ANN}\n'.encode(),
    "columns": f'"name","roster_identifier","student_repository_url"\n"h","ann","{ADDRESS_OF_ANN}"\n'.encode(),
    "signs in names": f'student,url,"remarks; notes"\nann,{ADDRESS_OF_ANN},a;b\n'.encode(),
    "signs in lines": f"ann;{ADDRESS_OF_ANN};late, ill\n".encode(),
    "blank lines": f"student,url,\n,,\nann,{ADDRESS_OF_ANN},\n\n,,\n".encode(),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path, what):
    (tmp_path / "r.csv").write_bytes(TABLES[what])
    assert read_repositories(tmp_path / "r.csv") == [("ann", ADDRESS_OF_ANN)]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (f"Müller,{ADDRESS_OF_ANN}\n".encode("cp1252"), 'save the table as "CSV UTF-8"'),
        (f"Иванов;{ADDRESS_OF_ANN}\n".encode("cp1251"), 'save the table as "CSV UTF-8"'),
        (f"ann,{ADDRESS}/ä\n".encode("latin-1"), 'save the table as "CSV UTF-8"'),
        (b"\xff\xfea", "is none"),
        (b"ann\n", "is not student,url"),
        (f"{'x' * 70},{ADDRESS_OF_ANN}\n,{ADDRESS}/b\n".encode(), "is not student,url"),
        (f'ann,"{ADDRESS_OF_ANN}\nbob,{ADDRESS}/b\n'.encode(), "no CSV file"),
        (b"", "no line"),
        (b"student,url\n", "no line"),
    ],
)
def test_a_table_that_would_be_misread_is_refused_in_a_sentence(tmp_path, data, told):
    (tmp_path / "r.csv").write_bytes(data)
    with pytest.raises(CourseError, match=told):
        read_repositories(tmp_path / "r.csv")


def test_a_student_without_a_repository_stops_nobody_and_is_named(course, tmp_path, host):
    write_and_commit(host.folder("ann"), "2029-01-01T00:00:00Z", "x = 1")
    results = from_git(course, tmp_path, "student,url", f"ann,{ADDRESS_OF_ANN}", "bob,")
    assert not results["ann"].refused
    assert "no address" in results["bob"].refused


LONG, BANNER = "Welcome to the university\n" * 200, "You must not log in, access is denied\n" * 90
ENDING = "\nPlease make sure you have the correct access rights\nand the repository exists.\n"
REMOTE = f"fatal: Could not read from remote repository.\n{ENDING}"


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (f"git@h: Permission denied (publickey).\n{REMOTE}", "git@h: Permission denied (publickey)"),
        (f"ERROR: Repository not found.\n{REMOTE}", "ERROR: Repository not found"),
        (
            f"remote: \x1b[31mThe project could not be found\x1b[0m\n{REMOTE}",
            "remote: The project could not be found",
        ),
        (f"ssh: connect to host h port 22: Connection timed out\n{REMOTE}", "Connection timed out"),
        (
            f"ssh: Could not resolve hostname h: Name or service not known\n{REMOTE}",
            "Could not resolve hostname h",
        ),
        (
            f'Load key "/k": invalid format\ngit@h: Permission denied (publickey).\n{REMOTE}',
            'Load key "/k": invalid',
        ),
        (f"No key is known\nHost key verification failed.\n{REMOTE}", "known_hosts"),
        (
            f"{LONG}Permission denied (publickey).\n{REMOTE}",
            "Permission denied",
        ),
        (
            f"{BANNER}{'x' * 390} fail\nPermission denied.\n{REMOTE}",
            "Permission",
        ),
        ("fatal: the remote end hung up unexpectedly\n", "the remote end hung up"),
        ("something else\n", "something else"),
        ("", "exit code 128"),
    ],
)
def test_what_git_says_is_shown_with_its_cause(told, shown):
    sentence = why(told, 128, 1 << 30)
    assert shown in sentence
    assert "and the repository exists" not in sentence
    assert len(sentence) < 700
    assert sentence.isprintable()


@pytest.mark.parametrize(
    "told",
    [
        "fatal: unable to access 'https://me:hunter2@h/c/a/': The requested URL returned error: 403",
        "fatal: unable to access 'https://h/c/a?private_token=hunter2': failed",
        "error: Authorization: Bearer hunter2",
        "remote: error: bad token ghp_hunter2",
        "fatal: proxy http://u:hunter2@proxy:3128 refused\x1b]0;title\x07\x9b31m\r\n",
    ],
)
def test_no_secret_and_no_control_character_is_shown_of_what_git_says(told):
    sentence = why(told, 128, 1 << 30)
    assert "hunter2" not in sentence
    assert "git says: " in sentence
    assert sentence.isprintable()


def test_a_host_that_lets_nobody_in_is_shown_with_its_words(course, tmp_path, host):
    ssh = tmp_path / "host" / "bin" / "ssh"
    ssh.write_text("#!/bin/sh\necho 'git@git.example.org: Permission denied (publickey).' >&2\nexit 255\n")
    refused = from_git(course, tmp_path, f"ann,{ADDRESS_OF_ANN}")["ann"].refused
    assert "git@git.example.org: Permission denied (publickey)" in refused
    assert "Could not read from remote repository" in refused


def test_a_repository_without_a_commit_where_one_is_looked_for_says_so(course, tmp_path, host):
    host.folder("ann")
    write_and_commit(host.folder("bob"), "2029-01-01T00:00:00Z", "x = 1")
    git(host.root / "class" / "bob", "branch", "-m", "work")
    git(host.root / "class" / "bob", "symbolic-ref", "HEAD", "refs/heads/elsewhere")
    results = from_git(course, tmp_path, f"ann,{ADDRESS_OF_ANN}", f"bob,{ADDRESS}/bob")
    assert "it is empty, no commit was pushed to it" in results["ann"].refused
    assert "no commit on its default branch, only on work" in results["bob"].refused
