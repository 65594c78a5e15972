"""A class on a real Slurm cluster whose nodes are emulated on this machine: `make test-slurm` runs all of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from grader.bench import kills, slurm_class
from grader.bench import slurm as bench
from grader.bench.against_nbgrader import ASSIGNMENT
from grader.bench.cluster import Cluster, missing
from grader.book.records import results_folder
from grader.course import CourseError
from grader.runners.slurm import queue, sealed
from grader.runners.slurm.rounds import Answer, Asked, Keys
from grader.runners.slurm.sealed import About
from grader.sandbox.packed import Packed
from grader.steps.grade import grade

pytestmark = [pytest.mark.alone, pytest.mark.skipif(bool(missing()), reason=missing() or "there is Slurm")]
long = pytest.mark.skipif(os.environ.get("GRADER_SLURM") != "1", reason="minutes: make test-slurm runs it")
POINTS = {"right": 2.0, "wrong": 1.0, "broken": 0.0}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("slurm") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built") / "course"
    slurm_class.build(root, 24)
    return root


@pytest.fixture
def course(built, tmp_path):
    """A class of 24, released and collected."""
    root = tmp_path / "course"
    shutil.copytree(built, root)
    return root


def expected(root: Path, students: list[str] | None = None) -> dict[str, float]:
    names = students or sorted(path.name for path in (root / "submitted").iterdir())
    return {name: list(POINTS.values())[int(name.removeprefix("student")) % 3] for name in names}


def scores(results) -> dict[str, float]:
    assert not [result.error for result in results if result.error]
    return {result.student: result.score for result in results}


def _leave_an_attempt_of_an_older_grader(root: Path) -> None:
    """Leave what a submit host that was killed leaves, with a sealed report that gives no points."""
    student = "student0000"
    folder = root / "submitted" / student / ASSIGNMENT
    names = ["total_adds", "total_of_nothing"]
    packed = Packed(folder, ["sums.py"])
    packed.close()
    keys = Keys(results_folder(root, ASSIGNMENT) / "slurm")
    asked = Asked(student, str(folder), packed.digest, {"problem1": names})
    made = keys.begin([[asked]], {"environment": "an older grader"})
    check = {"item": "total", "points": 0.0, "max_points": 1.0, "verdict": "fail", "why": ""}
    reports = {"problem1": {"checks": [{**check, "name": name} for name in names]}}
    body = json.dumps(asdict(Answer(student, packed.digest, reports, 0.1, 0, "n1", 1.0))).encode()
    about = About("report", made.id, 0, 0)
    sealed.write(made.folder / "report-0-0", sealed.seal(keys.of(made.id, 0), about, body))


def test_a_class_graded_on_a_cluster_has_its_points_in_the_book(course, cluster):
    some = [f"student{number:04d}" for number in range(6)]
    begun: list[str] = []
    _leave_an_attempt_of_an_older_grader(course)
    results = grade(course, ASSIGNMENT, runner="slurm", students=some, begins=begun.append)
    assert scores(results) == expected(course, some)
    assert sorted(kills.in_gradebook(course)) == sorted(begun) == some
    again = grade(course, ASSIGNMENT, runner="slurm", students=some)
    assert all(result.unchanged for result in again)
    left = {path.name for path in (course / ".grader" / ASSIGNMENT / "slurm").iterdir()}
    assert left == {"key", "measured.json"}  # no attempt, no key of a task


def test_options_that_slurm_refuses_are_a_sentence(course, cluster):
    text = (course / "course.toml").read_text().replace("[slurm]", '[slurm]\npartition = "nowhere"')
    (course / "course.toml").write_text(text)
    with pytest.raises(CourseError, match=r"sbatch refused: .*[Ii]nvalid partition.*course\.toml"):
        grade(course, ASSIGNMENT, runner="slurm")


def test_without_slurm_the_runner_says_so(monkeypatch):
    monkeypatch.setattr(queue.shutil, "which", lambda name: None)
    with pytest.raises(CourseError, match="squeue: not found; --runner slurm works where Slurm's commands"):
        queue.states(["grader-0"])


# --- longer ----------------------------------------------------------------------------------------------------


@long
def test_both_runners_leave_the_same(course, cluster, tmp_path):
    local = tmp_path / "local"
    shutil.copytree(course, local)
    assert scores(grade(course, ASSIGNMENT, runner="slurm")) == scores(grade(local, ASSIGNMENT))
    there, here = slurm_class.state(course), slurm_class.state(local)
    for name, of in here.items():
        assert there[name] == of, name


class Meanwhile:
    """Does something once, as soon as something of the class has been examined and something has not."""

    def __init__(self, root: Path, act):
        self.root, self.act = root, act
        self.done = threading.Event()
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self):
        folder = self.root / ".grader" / ASSIGNMENT / "slurm"
        while not list(folder.glob("*/report-*")):
            time.sleep(0.05)
        self.act()
        self.done.set()


def _lose(cluster: Cluster) -> None:
    node = busy(cluster)
    cluster.down(node)
    time.sleep(1)
    cluster.resume(node)


def _power(cluster: Cluster) -> None:
    killed = 0
    while not killed:  # a task may end by itself between the look and the cut
        node = busy(cluster)
        cluster.kill(node)
        killed = cluster.kill_steps(node)
        cluster.start_node(node)


def _cancel(cluster: Cluster) -> None:
    cluster.say("scancel", cluster.running()[0])


def _preempt(cluster: Cluster) -> None:
    options = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
    cluster.say("sbatch", *options, "--wrap", "sleep 1")


def _kill_task(cluster: Cluster) -> None:
    cluster.tasks("grader.runners.slurm.task")[0].kill()


def _restart_controller(cluster: Cluster) -> None:
    assert cluster.kill("slurmctld", signal.SIGKILL)
    time.sleep(3)
    cluster.start_controller()


def busy(cluster: Cluster) -> str:
    return cluster.say("squeue", "--noheader", "--states=running", "--format=%N").split()[0]


@long
@pytest.mark.parametrize("fault", [_lose, _power, _cancel, _preempt, _kill_task, _restart_controller])
def test_what_a_fault_has_interrupted_is_graded_all_the_same(course, cluster, fault):
    meanwhile = Meanwhile(course, lambda: fault(cluster))
    assert scores(grade(course, ASSIGNMENT, runner="slurm")) == expected(course)
    assert meanwhile.done.is_set()
    assert {kills.runs(course, student) for student in expected(course)} == {1}
    cluster.wait_until_idle()


@long
def test_a_submit_host_that_was_killed_takes_over_what_its_jobs_have_done(course, cluster):
    host = bench.run(course, "slurm", 4)
    slurm = course / ".grader" / ASSIGNMENT / "slurm"
    while len(list(slurm.glob("*/report-*"))) < 3:
        assert host.poll() is None, bench.output(course).read_text()
        time.sleep(0.05)
    host.kill()
    host.wait()
    (before,) = [path.name for path in slurm.iterdir() if (path / "round.json").exists()]
    committed = {student: kills.runs(course, student) for student in kills.in_gradebook(course)}
    assert scores(grade(course, ASSIGNMENT, runner="slurm")) == expected(course)
    assert {student: kills.runs(course, student) for student in committed} == committed
    logs = [path.read_text() for path in (course / ".grader" / ASSIGNMENT / "logs").iterdir()]
    assert sum(f"attempt {before}" in text for text in logs) >= 3


@long
def test_a_time_limit_ends_a_task_and_not_its_submissions(course, cluster, caplog):
    text = (course / "course.toml").read_text().replace("minutes = 60", "minutes = 1")
    (course / "course.toml").write_text(text)
    slow = "import time\n\n\ndef total(numbers):\n    time.sleep(6)\n    return sum(numbers)\n"
    some = [f"student{number:04d}" for number in range(8)]
    for name in some:
        (course / "submitted" / name / ASSIGNMENT / "sums.py").write_text(slow)
    with caplog.at_level("INFO"):
        results = grade(course, ASSIGNMENT, runner="slurm", students=some)
    assert scores(results) == dict.fromkeys(some, 2.0)
    assert "is TIMEOUT" in caplog.text


@long
def test_forged_and_replayed_reports_on_the_shared_disk_change_nothing(course, cluster, caplog):
    """Somebody who may write to the attempt's folder, and knows how a message looks, but no key."""
    stop, forged = threading.Event(), []
    slurm = course / ".grader" / ASSIGNMENT / "slurm"

    def forge():
        while not stop.wait(0.02):
            for real in slurm.glob("*/report-*"):
                data = real.read_bytes() if real.is_file() else b""
                for number in range(8):
                    other = real.with_name(f"report-0-{number}")
                    if data and not other.exists() and other.parent.is_dir() and len(forged) < 200:
                        head, _, body = data.partition(b"\n")
                        words = head.split(b" ")
                        words[4] = b"%d" % number  # says that it is this one's
                        try:
                            other.write_bytes(b" ".join(words) + b"\n" + body)
                        except FileNotFoundError:
                            continue
                        forged.append(other.name)

    thread = threading.Thread(target=forge)
    thread.start()
    try:
        results = grade(course, ASSIGNMENT, runner="slurm")
    finally:
        stop.set()
        thread.join()
    assert scores(results) == expected(course)
    assert forged
    assert "its MAC is not that of this task and attempt" in caplog.text
    assert list((slurm / "refused").iterdir())


@long
def test_a_submission_that_its_task_does_not_outlive_stops_nobody_else(course, cluster):
    """Whatever it does: here the examiner dies, as if the kernel had killed it for memory."""
    victim = "student0004"
    stop = threading.Event()
    slurm = course / ".grader" / ASSIGNMENT / "slurm"

    def kill():
        while not stop.wait(0.02):
            for path in slurm.glob("*/began-*"):
                _, task, index = path.name.split("-")
                try:
                    plan = json.loads((path.parent / "round.json").read_text())
                except FileNotFoundError:
                    continue
                if plan["tasks"][int(task)][int(index)]["student"] == victim:
                    done = (path.parent / f"report-{task}-{index}").exists()
                    for process in [] if done else cluster.tasks("grader.runners.slurm.task"):
                        if process.cmdline()[-1] == str(path.parent):
                            process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        results = {result.student: result for result in grade(course, ASSIGNMENT, runner="slurm")}
    finally:
        stop.set()
        thread.join()
    bad = results.pop(victim)
    assert scores(results.values()) == {k: v for k, v in expected(course).items() if k != victim}
    assert "could not be graded: its task on n" in bad.error
    assert "ended 3 times" in bad.error


@long
def test_the_doctor_looks_at_a_node(course, cluster):
    done = subprocess.run(
        [sys.executable, "-m", "grader", "doctor", "--runner", "slurm", "--course", str(course)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    for told in (
        *("n1", "the same as on the submit host", "a sandboxed worker answered"),
        "what processes share is counted once",
    ):
        assert told in done.stdout
    assert list((course / ".grader" / "slurm-doctor").iterdir()) == [
        course / ".grader" / "slurm-doctor" / "key"
    ]


@long
def test_a_class_under_fire_ends_where_an_undisturbed_one_does(cluster, tmp_path):
    root, calm = tmp_path / "stormy", tmp_path / "calm"
    slurm_class.build(root, 60, minutes=2)
    shutil.copytree(root, calm)
    grade(calm, ASSIGNMENT)
    found = bench.disturb(root, cluster, 6, seed=2, within=1.0)
    assert found.kills.total() == 6
    assert found.twice == []
    stormy, undisturbed = slurm_class.state(root), slurm_class.state(calm)
    for name, of in undisturbed.items():
        assert stormy[name] == of, name
