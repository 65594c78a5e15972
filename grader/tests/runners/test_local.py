"""Submissions graded on this machine: how many run at once, and what goes on beside them."""

import os
import threading

import pytest

from grader.examine.turns import Turns
from grader.runners import submission
from grader.sandbox.build import SandboxError
from grader.steps.grade import grade


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_run_at_once_than_jobs_say_while_one_more_is_read(
    released_course, hand_in, one_examiner, examiner, monkeypatch, jobs
):
    for number in range(jobs + 2):
        hand_in(f"student{number}")
    examine, rebuild = examiner.examine, submission.rebuild_apart
    lock, running, most, read = threading.Lock(), [], 0, []
    one_more = threading.Event()

    def counted(*args, **kwargs):
        nonlocal most
        with lock:
            running.append(None)
            most = max(most, len(running))
        try:
            # One that nobody reads while others run never comes.
            assert one_more.wait(300)
            return examine(*args, **kwargs)
        finally:
            with lock:
                running.pop()

    def noted(*args, **kwargs):
        found = rebuild(*args, **kwargs)
        read.append(None)
        if len(read) > jobs:
            one_more.set()
        return found

    monkeypatch.setattr(examiner, "examine", counted)
    monkeypatch.setattr(submission, "rebuild_apart", noted)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    results = grade(released_course, "hw1", jobs=jobs)
    assert [result.error for result in results] == [""] * (jobs + 2)
    assert most == jobs


def test_who_waits_for_a_turn_when_grading_is_stopped_does_not_run():
    turns, ran, refused = Turns(1), [], []

    def work():
        try:
            with turns:
                ran.append(None)
        except SandboxError as error:
            refused.append(str(error))

    with turns:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        turns.stop()
    for thread in threads:
        thread.join()
    assert not ran
    assert refused == ["grading was stopped"] * 3
