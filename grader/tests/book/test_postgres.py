"""The gradebook in PostgreSQL: a real server, thrown away afterwards."""

import time

import pytest

from grader.bench import against_nbgrader as bench
from grader.bench import kills, postgres
from grader.steps.grade import grade


@pytest.fixture
def server():
    if told := postgres.lacks():
        pytest.skip(told)
    with postgres.running() as server:
        yield server


def course_in(server, root, students):
    """Write the benchmark's course with its gradebook in the server."""
    bench.build_course(root, students)
    postgres.move_in(root, server)
    return root


def test_a_class_graded_into_postgresql_has_the_scores_and_is_not_run_again(server, tmp_path, one_examiner):
    root = course_in(server, tmp_path / "course", len(bench.VARIANTS))
    scores = {bench.VARIANTS[int(r.student[-3:])]: r.score for r in grade(root, bench.ASSIGNMENT)}
    assert scores == {"right": 7, "partly": 3.5, "wrong": 0, "empty": 0, "helper": 7}
    assert all(result.unchanged for result in grade(root, bench.ASSIGNMENT))
    assert not (root / "gradebook.db").exists()
    assert sum(sum(row.values()) for row in bench.scores(root).values()) == 17.5


@pytest.mark.drawn(4)
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
    server.start()
    return kills.in_gradebook(root)
