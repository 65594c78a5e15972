"""Submissions from folders, zip files and git; nothing of them lands outside its own folder."""

import os
import shutil
import stat
import zipfile
from datetime import UTC, datetime

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.course import CourseError
from grader.steps.collect import archives, collect, collect_git, room, take
from grader.steps.collect import git as git_steps
from grader.steps.collect.addresses import check_address, parse_allowed
from grader.steps.collect.archives import unzip
from grader.steps.collect.room import Refused, Room
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
