"""What check authors write with: each helper fails when it should, and says both sides."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.checks import (
    Failed,
    PerRank,
    expect,
    expect_at_least,
    expect_at_most,
    expect_close,
    expect_equal,
    expect_lines,
    expect_related,
    expect_traffic,
    not_measured,
)
from grader.course import CourseError
from grader.examine.checks import gather, load_checks
from grader.examine.examiner import Examiner
from grader.examine.shown import said, short
from grader.sandbox.build import SandboxError
from grader.sandbox.cgroup import Cgroup, CgroupError, Cgroups, _own_groups
from grader.sandbox.packed import Packed
from grader.text import plain


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
        expect_close(PerRank([right, right + 0.5, right]), right, atol=1e-6, why="test", of="sum")
    with pytest.raises(Failed, match="2 values where 3 are expected"):
        expect_close([right, right], [right] * 3, atol=1e-6, why="test")


@pytest.mark.parametrize(
    ("actual", "expected", "says"),
    [
        (4.0 * torch.arange(1.0, 7), torch.arange(1.0, 7), "4.000 times the specification everywhere"),
        (-torch.arange(1.0, 7), torch.arange(1.0, 7), "-1.000 times the specification everywhere"),
        (0 * torch.arange(1.0, 7), torch.arange(1.0, 7), "zero everywhere"),
        (8.0, 2.0, "4 times the specification;"),
    ],
)
def test_a_common_factor_is_told(actual, expected, says):
    with pytest.raises(Failed) as failed:
        expect_close(actual, expected, atol=1e-6, why="test")
    assert says in failed.value.why


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (torch.tensor([1.0, 2, 9]), torch.tensor([1.0, 2, 3])),
        (torch.tensor([1.0, 2.01]), torch.tensor([1.0, 2.0])),
        (torch.tensor([math.nan, 2.0]), torch.tensor([1.0, 1.0])),
        (torch.ones(3), torch.zeros(3)),
        (2.3, 1.0),
        (0.0, 1.0),
    ],
)
def test_no_factor_is_told_where_there_is_none_or_it_says_nothing(actual, expected):
    with pytest.raises(Failed) as failed:
        expect_close(actual, expected, atol=1e-6, why="test")
    assert "times the specification" not in failed.value.why


@pytest.mark.parametrize("compare", [expect_equal, lambda *two: expect_close(*two, atol=1e-6, why="test")])
def test_the_first_entry_that_differs_is_shown_and_how_many_do(compare):
    expected = torch.arange(12.0).view(3, 4)
    actual = expected.clone()
    actual[1, 2:] = 50
    with pytest.raises(Failed, match=r"at \[1, 2\], the first of 2 such entries in 12") as failed:
        compare(actual, expected)
    assert (failed.value.yours, failed.value.expected) == ("50", "6")


@pytest.mark.parametrize(
    ("actual", "expected", "says", "yours", "spec"),
    [
        ([1, 5, 3], [1, 2, 3], "at [1]", "5", "2"),
        ([1, 2], [1, 2, 3], "it has 2 entries, not 3", "[1, 2]", "[1, 2, 3]"),
        ({"a": 1}, {"a": 1, "b": 2}, "b is missing", "(nothing)", "2"),
        ({"a": 1, "b": 3}, {"a": 1, "b": 2}, "at b", "3", "2"),
        ({"a": 1, "c": 9}, {"a": 1}, "c is too much", "9", "(nothing)"),
        (None, 6, "value is None, not a value of type int", "None", "6"),
    ],
)
def test_of_lists_and_mappings_the_entry_that_differs_is_shown(actual, expected, says, yours, spec):
    with pytest.raises(Failed) as failed:
        expect_equal(actual, expected)
    assert says in failed.value.why
    assert (failed.value.yours, failed.value.expected) == (yours, spec)


def test_related_are_a_multiple_and_a_few_wrong_entries_but_not_other_numbers():
    generator = torch.Generator().manual_seed(3)
    right, other = torch.randn(2, 1000, generator=generator)
    few = right.clone()
    few[-30:] = 0
    expect_related(PerRank([4 * right, few]), right)
    mine = torch.stack([right, other, *torch.randn(2, 1000, generator=generator)])
    # A rank that does nothing has its own numbers: half way to the mean of four.
    for bad in (other, -right, 0 * right, right * math.nan, mine[0] + 0 * other):
        with pytest.raises(Failed, match="has little to do with"):
            expect_related(bad, mine.mean(0) if bad is not other else right)
    with pytest.raises(Failed, match="another shape"):
        expect_related(right[:-1], right)
    with pytest.raises(Failed, match="0 values where some"):
        expect_related(PerRank(), right)
    with pytest.raises(Failed, match="a value of type list, not a tensor"):
        expect_related([right, right], right)


def test_a_list_of_right_tensors_is_not_the_tensor_unless_the_examiner_made_the_list(submit):
    right = torch.ones(3)
    for own in ([right, right], [right], (right,), []):
        with pytest.raises(Failed, match=r"value is a value of type (list|tuple), not a tensor"):
            expect_close(own, right, atol=1e-6, why="test")
    run = submit("import torch\ndef run(rank, size): return [torch.ones(3)] * 2\n").ranks("work:run", world=2)
    with pytest.raises(Failed, match="value of rank 0 is a value of type list"):
        expect_close(run.results, right, atol=1e-6, why="test")
    expect_close(PerRank(result[0] for result in run.results), right, atol=1e-6, why="test")
    expect_close(run.results[0], [right, right], atol=1e-6, why="test")


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


def test_a_bound_that_is_missed_is_said_as_one_that_is_kept():
    with pytest.raises(Failed, match=r"^120 sequences: rows: 79, at most 74 allowed$"):
        expect_at_most(79, 74, of="120 sequences: rows")
    # Rounded to four digits these two would be the same number.
    with pytest.raises(Failed, match=r"^MACs: 22,885, at most 22,884 allowed$"):
        expect_at_most(22_885, 22_884, of="MACs")


def test_a_bound_fails_for_nan():
    expect_at_most(1.0, 1.0, of="x")
    expect_at_least(1.0, 1.0, of="x")
    for function in (expect_at_most, expect_at_least):
        with pytest.raises(Failed):
            function(math.nan, 1.0, of="x")


@pytest.mark.parametrize(("count", "passes"), [(95, False), (96, True), (110, True), (111, False)])
def test_traffic_is_bounded_on_both_sides_in_multiples_of_its_unit(count, passes):
    with contextlib.nullcontext() if passes else pytest.raises(Failed, match="sizes sent"):
        expect_traffic(10 * count, 100, of="sizes sent", at_most=11.0, at_least=9.6)


def test_traffic_that_nobody_could_count_says_so_and_fails_nobody():
    with gather() as evidence:
        expect_traffic(None, 100, of="sizes sent", at_most=1.0)
    (entry,) = evidence.measured
    assert entry["name"] == "sizes sent"
    assert "not measured" in entry["value"]
    assert evidence.missing == {"no network namespaces on this machine; the grader has them": ["sizes sent"]}


def test_a_bound_that_is_none_is_not_shown():
    with gather() as evidence:
        expect_traffic(60, 10, of="sizes sent", at_most=math.inf, at_least=5.9)
    assert [entry["bound"] for entry in evidence.measured] == ["at least 5.9"]


def test_what_is_missing_outlives_evidence_that_is_dropped():
    with gather() as outer, gather() as inner:
        not_measured("bytes", "none are counted")
        inner.measured.clear()
    assert (outer.measured, outer.missing) == ([], {"none are counted": ["bytes"]})


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


def test_a_folder_named_like_one_of_the_courses_is_left_out_with_a_note_and_below_it_is_the_students(
    tmp_path,
):
    for name in ("right/a.py", "mine/right/b.py", "timestamp.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    packed = Packed(tmp_path)
    assert packed.names == ["mine/right/b.py"]
    assert packed.notes == ["the folder right is left out; name a module of your own otherwise"]
    packed.close()


def test_a_file_over_the_limit_is_left_out_and_the_rest_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("grader.sandbox.packed.MAX_BYTES", 100)
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
        (folder / "cgroup.subtree_control").write_text("cpu memory pids\n")
    cgroups = Cgroups.__new__(Cgroups)
    cgroups._mount, cgroups._own = tmp_path, {"": "/user.slice/run.scope"}
    cgroups.version, cgroups._bases = cgroups._version2()
    assert cgroups._bases["memory"] == cgroups._mount / "user.slice"
    group = cgroups.create(memory=1 << 20, processes=7, cpus=1)
    (folder,) = {path.rpartition("/")[0] for path in group.paths}
    assert folder.startswith(str(cgroups._mount / "user.slice" / "grader-"))
    written = {name: Path(folder, name).read_text() for name in ("memory.max", "pids.max")}
    assert written == {"memory.max": "1048576", "pids.max": "7"}


def test_an_ordinary_user_without_the_cpu_controller_gets_a_group_all_the_same(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("memory pids\n")
    cgroups = Cgroups.__new__(Cgroups)
    cgroups._mount, cgroups._own = tmp_path, {"": "/"}
    with monkey_control(tmp_path / "cgroup.subtree_control"):
        cgroups.version, cgroups._bases = cgroups._version2()
    assert (cgroups.version, cgroups._bases["memory"]) == (2, tmp_path)
    assert not cgroups.limits_cpu


def test_version_1_groups_handed_to_an_ordinary_user_limit_cpu_time_too(tmp_path, monkeypatch):
    """Only the folders below the mounts are the user's, not the mounts themselves."""
    own = tmp_path / "own"
    names = ("memory", "pids", "cpuacct", "cpu", "freezer")
    own.write_text("".join(f"{number}:{name}:/ada\n" for number, name in enumerate(names, 1)))
    for name in names:
        (tmp_path / name / "ada").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name == "ada")
    cgroups = Cgroups.__new__(Cgroups)
    cgroups._mount, cgroups._own = tmp_path, _own_groups(own)
    cgroups.version, cgroups._bases = cgroups._version1()
    assert cgroups._bases == {name: tmp_path / name / "ada" for name in names}
    assert cgroups.limits_cpu


@contextlib.contextmanager
def monkey_control(path):
    """Answer writes to `cgroup.subtree_control` as a kernel does that has no CPU controller to give."""
    honest = Path.write_text

    def write(self, text, *args, **options):
        if self == path:
            if "cpu" in text:
                raise OSError("no such controller")
            return len(text)
        return honest(self, text, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", write)
        yield


def test_freezing_waits_until_the_kernel_says_so_and_gives_up_in_time(tmp_path):
    group = Cgroup(2, {"memory": tmp_path})
    assert not group.can_freeze
    (tmp_path / "cgroup.freeze").write_text("0")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert group.can_freeze
    group.freeze(True)
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(CgroupError, match="cannot be frozen"):
        group.freeze(True, seconds=0.05)


def test_a_group_goes_though_one_hierarchy_empties_later_than_the_others():
    """Version 1 has a folder for each controller; a process that dies in one delays only that one."""
    try:
        groups = Cgroups()
    except CgroupError as error:
        pytest.skip(str(error))
    for late in sorted(set(groups._bases.values())):
        group = groups.create(memory=1 << 30, processes=16, cpus=1, allowed=[(1, 3)])
        folders = [Path(path).parent for path in group.paths]
        child = subprocess.Popen(["sleep", "60"])
        try:
            (late / folders[0].name / "cgroup.procs").write_text(str(child.pid))
            group.remove()
            assert not any(folder.exists() for folder in folders)
        finally:
            child.kill()
            assert child.wait() == -signal.SIGKILL


UNIFIED = next((path for path in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")) if
                (path / "cgroup.controllers").exists() and os.access(path, os.W_OK)), None)  # fmt: skip


@pytest.mark.skipif(UNIFIED is None, reason="no version 2 hierarchy that we may write to")
def test_a_frozen_version_2_group_stands_still_and_a_thawed_one_goes_on():
    """The real thing, also where version 1 has the controllers: freezing needs none."""
    folder = UNIFIED / f"grader-test-{os.getpid()}"
    folder.mkdir()
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        (folder / "cgroup.procs").write_text(str(child.pid))
        group = Cgroup(2, {"memory": folder})
        for frozen in (True, False):
            group.freeze(frozen)
            before = sum(psutil.Process(child.pid).cpu_times()[:2])
            deadline, ran = time.monotonic() + (1 if frozen else 300), 0.0
            while not ran and time.monotonic() < deadline:  # a busy machine may let it wait
                time.sleep(0.05)
                ran = sum(psutil.Process(child.pid).cpu_times()[:2]) - before
            assert (ran == 0) is frozen
    finally:
        child.kill()
        child.wait()
        folder.rmdir()


def test_grading_refuses_without_control_groups_and_says_what_to_do(monkeypatch):
    class Started:
        closed = False

        def close(self):
            self.closed = True

    def none_here():
        raise CgroupError("no control group can be made here: run as root")

    zygote = Started()
    monkeypatch.setattr("grader.examine.examiner.Cgroups", none_here)
    with pytest.raises(SandboxError, match=r"memory cannot be limited as a whole: .* run as root"):
        Examiner("namespaces", zygote=zygote)
    assert zygote.closed


def test_no_hierarchy_at_all_is_one_sentence_with_both_reasons(tmp_path):
    (tmp_path / "own").write_text("")
    with pytest.raises(CgroupError, match=r"no control group can be made here: .*version 2.*version 1"):
        Cgroups(tmp_path / "nothing", tmp_path / "own")


def test_a_value_is_written_out_no_further_than_it_is_shown(monkeypatch):
    def never(tensor, **_):
        raise AssertionError("a tensor of 28 dimensions is printed whole, in hours")

    monkeypatch.setattr(torch.Tensor, "__repr__", never)
    many = torch.zeros([2] * 9, dtype=torch.uint8)
    assert short([many]) == "[uint8 tensor of shape (2, 2, 2, 2, 2, 2, 2, 2, 2): [0, 0, 0, 0, ...]]"
    assert len(short([many] * 1000)) == 200
    assert said(KeyError((many,))).startswith("[(uint8 tensor of shape")
    assert short(b"\0" * (1 << 28)).endswith("...")
    with pytest.raises(Failed):
        expect_equal([{"a": many}], {"a": 1})
    for value in ([1, "a", (2.5,), None, {"b": b"c"}], {}, (), [], {"a": [True]}, (1, 2), 7):
        assert short(value) == repr(value)
