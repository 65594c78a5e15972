"""The gradebook in PostgreSQL: a real server, thrown away afterwards."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from grader.bench import against_nbgrader as bench
from grader.bench import kills
from grader.steps.grade import grade
from grader.steps.release import release

USER = "postgres"


class Server:
    """A PostgreSQL server that listens on a socket in its own folder only."""

    def __init__(self, binaries: Path, folder: Path):
        self.binaries, self.folder = binaries, folder
        self.url = f"postgresql+psycopg://{USER}@/postgres?host={folder}"
        # The server refuses to run as root.
        self.user = {"user": USER, "group": USER} if os.geteuid() == 0 else {}
        self._run("initdb", "-D", str(folder / "data"), "-U", USER, "-A", "trust", "--no-sync")
        self.start()

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self.binaries / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self.user)

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", log, "-w", "start")

    def kill(self) -> None:
        """Kill the server; its helpers notice in a moment, and until then no other can start."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 300
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


@pytest.fixture
def server():
    pytest.importorskip(
        "psycopg", reason="the driver is not installed: pip install -r requirements-server.txt"
    )
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [shutil.which("initdb")]
    if found[-1] is None:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    try:
        server = Server(Path(found[-1]).parent, folder)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


def course_in(server, root, students):
    """Write the benchmark's course with its gradebook in the server."""
    bench.build_course(root, students)
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + f"c.CourseDirectory.db_url = '{server.url}'\n")
    (root / "gradebook.db").unlink()
    release(root, bench.ASSIGNMENT)
    return root


def test_a_class_graded_into_postgresql_has_the_scores_and_is_not_run_again(server, tmp_path, one_examiner):
    root = course_in(server, tmp_path / "course", len(bench.VARIANTS))
    scores = {bench.VARIANTS[int(r.student[-3:])]: r.score for r in grade(root, bench.ASSIGNMENT)}
    assert scores == {"right": 7, "partly": 3.5, "wrong": 0, "empty": 0, "helper": 7}
    assert all(result.unchanged for result in grade(root, bench.ASSIGNMENT))
    assert not (root / "gradebook.db").exists()
    assert sum(sum(row.values()) for row in bench.scores(root).values()) == 17.5


def test_a_server_killed_while_a_class_is_graded_costs_no_result_and_no_second_run(server, tmp_path):
    students = 60  # three batches at least: some are recorded when the server dies, and some are not
    root = course_in(server, tmp_path / "course", students)
    grading = kills.run(root)
    wait_for_results(root, grading)
    server.kill()
    before = {student: kills.runs(root, student) for student in recorded(server, root)}
    assert 0 < len(before) < students
    output, _ = grading.communicate(timeout=kills.PATIENCE)
    if grading.returncode:
        assert "cannot be written" in output
        again = kills.run(root)
        output, _ = again.communicate(timeout=kills.PATIENCE)
        assert again.returncode == 0, output
    assert len(bench.scores(root)) == students
    assert all(None not in row.values() for row in bench.scores(root).values())
    assert {student: kills.runs(root, student) for student in before} == before


def wait_for_results(root, grading):
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and grading.poll() is None:
        if kills.in_gradebook(root):
            return
        time.sleep(0.05)
    pytest.fail("nothing was recorded within 600 s")


def recorded(server, root):
    """Start the server again and return whom its gradebook holds."""
    for number in range(600):
        try:
            server.start()
            break
        except subprocess.CalledProcessError:  # helpers of the one that was killed are still there
            if number == 599:
                raise
            time.sleep(0.1)
    engine = create_engine(server.url)
    for _ in range(3000):
        try:
            with engine.connect() as connection:
                connection.execute(text("select 1"))
            break
        except OperationalError:
            time.sleep(0.1)
    engine.dispose()
    return kills.in_gradebook(root)
