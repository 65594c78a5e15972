"""Killed at any instant and started again: nothing lost, nothing graded twice."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from grader.bench import against_nbgrader as bench
from grader.bench import kills
from grader.book import records
from grader.course import CourseError
from grader.examine.examiner import KILLED, TRIES, Examiner
from grader.lean import nbformat
from grader.steps.grade import grade
from grader.whole_files import repair, replaced_folder

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    root = tmp_path_factory.mktemp("plain") / "course"
    bench.build_course(root, 40)
    return root


@pytest.mark.drawn(4)
def test_a_grader_under_fire_ends_where_an_undisturbed_one_does(plain, tmp_path):
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    shutil.copytree(plain, calm)
    shutil.copytree(plain, stormy)
    started = time.perf_counter()
    undisturbed = kills.run(calm)
    told, _ = undisturbed.communicate(timeout=kills.PATIENCE)
    assert undisturbed.returncode == 0, told
    # So short a time between two kills that a machine sees several however fast it is.
    found = kills.disturb(stormy, 10, seed=1, within=min(0.4, (time.perf_counter() - started) / 15))
    assert sum(found.kills.values()) >= 3
    assert found.twice == []
    assert found.left_over == 0
    expected, actual = kills.state(calm), kills.state(stormy)
    for name, of in expected.items():
        assert actual[name] == of, name


@pytest.fixture
def small(plain, tmp_path):
    """The plain course with two submissions, a right one and an empty one."""
    root = tmp_path / "course"
    shutil.copytree(plain, root)
    for folder in (root / "submitted").iterdir():
        if folder.name not in ("student000", "student003"):
            shutil.rmtree(folder)
    return root


def test_a_worker_killed_from_outside_is_no_failure_of_the_students(small, examiner, one_examiner):
    path = small / "submitted" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("import time\ntime.sleep(3)"))
    nbformat.write(notebook, path)
    killed = []

    def alive(process):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end while we look
            return process.status() != psutil.STATUS_ZOMBIE
        return False

    def kill():
        # Other tests' examiners may have zygotes too, before or behind this one in the order of process ids.
        zygotes = [p for p in psutil.Process().children() if "grader.sandbox.zygote" in " ".join(p.cmdline())]
        deadline = time.monotonic() + 300
        while not killed and time.monotonic() < deadline:
            # Those that have ended wait for the next request to be reaped.
            children = [child for zygote in zygotes for child in zygote.children()]
            leaders = [child for child in children if alive(child)]
            if not (small / ".grader" / bench.ASSIGNMENT / "modes" / f"{bench.NOTEBOOK}.json").exists():
                leaders = []  # they run the reference
            with contextlib.suppress(psutil.NoSuchProcess):
                if leaders and time.time() - leaders[0].create_time() > 1:
                    leaders[0].send_signal(signal.SIGKILL)
                    killed.append(leaders[0].pid)
            time.sleep(0.1)

    assassin = threading.Thread(target=kill)
    assassin.start()
    (result,) = grade(small, bench.ASSIGNMENT, students=["student000"])
    assassin.join()
    assert killed
    assert result.score == 7
    assert sum(note.endswith(KILLED) for note in result.notes) == 1


def test_a_submission_that_kills_itself_gains_one_more_try_and_no_points(small, one_examiner):
    path = small / "submitted" / "student000" / bench.ASSIGNMENT / f"{bench.NOTEBOOK}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("def moving_average"):
            cell.source = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    nbformat.write(notebook, path)
    (result,) = grade(small, bench.ASSIGNMENT, students=["student000"])
    assert result.score == 2
    assert sum(note.endswith(KILLED) for note in result.notes) == 1


def test_a_check_that_is_given_away_by_a_kill_buys_no_try_at_the_others(
    released_course, hand_in, one_examiner, monkeypatch
):
    """Where all that failed ran again after a kill, a coin that fell six times was right nearly always."""
    runs = Counter()
    once = Examiner._check_once

    def counted(self, part, packed, check, *more):
        runs[check.name] += 1
        return once(self, part, packed, check, *more)

    monkeypatch.setattr(Examiner, "_check_once", counted)
    hand_in(
        "ann",
        "import os\n\n\ndef total(x):\n    return -1\n\n\ndef spread(x):\n    os.kill(os.getpid(), 9)\n",
    )
    (result,) = grade(released_course, "hw1")
    assert result.score == 0
    assert (runs["total_adds"], runs["spread_is_a_difference"]) == (1, TRIES)


def test_what_was_judged_but_not_recorded_is_recorded_without_running_again(small, one_examiner, monkeypatch):
    from grader.book.ledger import Ledger

    class Killed(BaseException):
        """Stands for the end of the process between two instants."""

    def die(self, entries, *, keep):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write", die)
        with pytest.raises(Killed):
            grade(small, bench.ASSIGNMENT)
    assert kills.in_gradebook(small) == []
    results = grade(small, bench.ASSIGNMENT)
    assert [result.score for result in results] == [7, 0]
    assert not any(result.unchanged for result in results)
    assert [kills.runs(small, result.student) for result in results] == [1, 1]


@pytest.mark.parametrize("instant", ["building", "between the renames", "after them"])
def test_a_folder_is_the_old_one_or_the_new_one_whenever_the_process_dies(tmp_path, instant):
    target = tmp_path / "student" / "hw1"
    with replaced_folder(target) as folder:
        (folder / "a.txt").write_text("old")
    building, old = target.with_name(".hw1.building"), target.with_name(".hw1.old")
    if instant == "building":
        building.mkdir()
        (building / "a.txt").write_text("half")
    elif instant == "between the renames":
        target.rename(old)
        building.mkdir()
    else:
        shutil.copytree(target, old)
    repair(target)
    assert (target / "a.txt").read_text() == "old"
    assert [path.name for path in target.parent.iterdir()] == ["hw1"]


def test_two_graders_in_one_course_do_not_meet(tmp_path):
    code = "from grader.book.records import only_one\nfrom pathlib import Path\nimport sys, time\n"
    code += "with only_one(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(CourseError, match=f"process {other.pid} .* is grading here"),
            records.only_one(tmp_path),
        ):
            pytest.fail("two hold the lock")
        other.kill()
        other.wait()
        with records.only_one(tmp_path):
            assert str(os.getpid()) in (tmp_path / ".grader" / "lock").read_text()


def test_groups_of_a_killed_examiner_are_removed_and_those_of_a_living_one_stay(examiner):
    groups = examiner.place.cgroups
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True
    )
    folders = [base / f"grader-{int(dead.stdout)}-0" for base in set(groups._bases.values())]
    for folder in folders:
        folder.mkdir()
    mine = groups.create(memory=1 << 28, processes=4, cpus=1)
    type(groups)()
    assert not any(folder.exists() for folder in folders)
    assert all(Path(path).exists() for path in mine.paths)
    mine.remove()
