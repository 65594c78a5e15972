"""What check authors write with: each helper fails when it should, and says both sides."""

import math
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.cgroup import CgroupError, Cgroups
from grader.checks import (
    Failed,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_lines,
    load_checks,
)
from grader.course import CourseError
from grader.submission import Packed, plain


@given(st.floats(0.001, 1.0), st.floats(0, 10), st.integers(0, 5))
def test_an_error_passes_up_to_its_bound_and_not_beyond(atol, size, place):
    expected = torch.linspace(-size, size, 6, dtype=torch.float64)
    for factor, passes in ((0.999, True), (1.001, False)):
        actual = expected.clone()
        actual[place] += factor * atol
        if passes:
            expect_close(actual, expected, atol=atol, why="test")
        else:
            with pytest.raises(Failed, match=rf"at \[{place}\]"):
                expect_close(actual, expected, atol=atol, why="test")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_pass_as_close(value):
    with pytest.raises(Failed):
        expect_close(torch.tensor([value]), torch.zeros(1), atol=1e9, why="test")
    with pytest.raises(Failed):
        expect_close(value, 0.0, atol=1e9, why="test")


@pytest.mark.parametrize(
    "actual",
    [torch.zeros(2, 1), torch.zeros(2, dtype=torch.float64), [0.0, 0.0], None, 0.0, "zeros"],
)
def test_another_shape_dtype_or_type_is_no_tensor_of_the_specification(actual):
    with pytest.raises(Failed):
        expect_close(actual, torch.zeros(2), atol=1.0, why="test")
    with pytest.raises(Failed):
        expect_equal(actual, torch.zeros(2))


def test_one_wrong_rank_among_right_ones_is_named():
    right = torch.ones(3)
    with pytest.raises(Failed, match=r"sum of rank 1 is off by 0\.5"):
        expect_close([right, right + 0.5, right], right, atol=1e-6, why="test", of="sum")
    with pytest.raises(Failed, match="2 values where 3 are expected"):
        expect_close([right, right], [right] * 3, atol=1e-6, why="test")


def test_equal_means_of_one_type_and_value():
    expect_equal([1, 2], [1, 2])
    for other in ([1, 2.0], (1, 2), [1, 2, 3]):
        if type(other) is list and other == [1, 2]:
            continue  # 2 == 2.0 inside a list: Python's own equality
        with pytest.raises(Failed):
            expect_equal(other, [1, 2])
    with pytest.raises(Failed):
        expect_equal(True, 1)


def test_only_true_is_true():
    expect(True, "fine")
    for value in (1, "yes", torch.tensor(True), None):
        with pytest.raises(Failed, match="not fine"):
            expect(value, "not fine")


def test_a_bound_fails_for_nan():
    expect_at_most(1.0, 1.0, of="x")
    expect_at_least(1.0, 1.0, of="x")
    for function in (expect_at_most, expect_at_least):
        with pytest.raises(Failed):
            function(math.nan, 1.0, of="x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\nb\n", None),
        ("a\r\nb", None),
        ("a\n", "ends after line 1 of 2"),
        ("a\nb\nc\n", "has 3 lines where 2 are expected"),
        ("a\nB\n", "line 2 differs"),
        ("", "ends after line 0 of 2"),
    ],
)
def test_the_first_line_that_differs_is_shown(text, says):
    if says is None:
        expect_lines(text, ["a", "b"])
        return
    with pytest.raises(Failed, match=says):
        expect_lines(text, ["a", "b"])


def test_a_check_without_a_specification_cannot_be_loaded(tmp_path):
    path = tmp_path / "checks.py"
    path.write_text(
        "from grader.checks import check\n@check(item='a', points=1)\ndef silent(sub):\n    pass\n"
    )
    with pytest.raises(CourseError, match="silent has no docstring"):
        load_checks(path, hidden=False)
    path.write_text("import nothing_like_it\n")
    with pytest.raises(CourseError, match=r"checks\.py: cannot be loaded: ModuleNotFoundError"):
        load_checks(path, hidden=False)


def test_packing_takes_regular_files_only_and_says_what_it_left(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the answer")
    folder = tmp_path / "work"
    (folder / "data").mkdir(parents=True)
    (folder / "work.py").write_text("x = 1\n")
    (folder / "data" / "table.csv").write_text("1,2\n")
    (folder / "link.py").symlink_to(secret)
    (folder / "data" / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "work.pyc").write_bytes(b"x")
    packed = Packed(folder, ["work.py"])
    assert packed.names == ["work.py", "data/table.csv"]
    assert sorted(note.split(":")[0] for note in packed.notes) == ["link.py", "pipe"]
    os.lseek(packed.descriptor, 0, os.SEEK_SET)
    assert b"the answer" not in os.read(packed.descriptor, 1 << 20)
    packed.close()


def test_a_file_over_the_limit_is_left_out_and_the_rest_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.submission.MAX_BYTES", 100)
    (tmp_path / "a_big.bin").write_bytes(bytes(101))
    (tmp_path / "work.py").write_text("x = 1\n")
    packed = Packed(tmp_path, ["work.py"])
    assert packed.names == ["work.py"]
    assert "a_big.bin: left out" in packed.notes[0]
    packed.close()


@given(st.text(max_size=400))
def test_text_of_a_submission_becomes_one_short_line_without_control_characters(text):
    line = plain(text, 80)
    assert len(line) <= 80
    assert all(character.isprintable() or character == " " for character in line if ord(character) < 0xA0)
    assert not set(line) & set("\u202e\u2066\u200f")


def test_version_2_groups_are_made_beside_our_own_and_limits_written(tmp_path):
    """A stand-in for the files of the kernel: it shows where we write, not that a kernel obeys."""
    inner = tmp_path / "user.slice" / "run.scope"
    inner.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "user.slice", inner):
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text("memory pids\n")
    cgroups = Cgroups.__new__(Cgroups)
    cgroups._mount, cgroups._own = tmp_path, {"": "/user.slice/run.scope"}
    cgroups.version, cgroups._bases = cgroups._version2()
    assert cgroups._bases["memory"] == cgroups._mount / "user.slice"
    group = cgroups.create(memory=1 << 20, processes=7)
    (folder,) = {path.rpartition("/")[0] for path in group.paths}
    assert folder.startswith(str(cgroups._mount / "user.slice" / "grader-"))
    written = {name: Path(folder, name).read_text() for name in ("memory.max", "pids.max")}
    assert written == {"memory.max": "1048576", "pids.max": "7"}


def test_no_hierarchy_at_all_is_one_sentence_with_both_reasons(tmp_path):
    (tmp_path / "own").write_text("")
    with pytest.raises(CgroupError, match=r"no control group can be made here: .*version 2.*version 1"):
        Cgroups(tmp_path / "nothing", tmp_path / "own")
