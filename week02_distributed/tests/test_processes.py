"""Worker groups: results in order, failures heard, nobody left alive."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from week02_distributed.processes import Group, WorkerFailed, run_tasks

PATIENCE = 600
"""Seconds after which a wait is a hang."""


def double(value):
    return os.getpid(), 2 * value


def fail(value):
    raise ValueError(f"cannot use {value}")


def leave(code):
    os._exit(code)


def sleep(seconds):
    time.sleep(seconds)


def draw():
    return float(np.random.random())


def pid_and_sleep(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(2 * PATIENCE)


def test_results_come_in_the_order_of_the_start_from_other_processes():
    found = run_tasks(double, [(1,), (2,), (3,)])
    assert [value for _, value in found] == [2, 4, 6]
    assert len({pid for pid, _ in found} | {os.getpid()}) == 4


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (fail, 7, "cannot use 7"),
        (leave, 3, "exit code 3"),
        (sleep, PATIENCE, r"did not return within 0\.5 s"),
    ],
)
def test_failure_surfaces_and_no_process_is_left(function, argument, message):
    pids = []

    def run_group():
        with Group() as group:
            group.start(sleep, PATIENCE)
            group.start(function, argument)
            pids.extend(process.pid for process in group.processes)
            group.results(deadline=0.5 if function is sleep else PATIENCE)

    with pytest.raises(WorkerFailed, match=message):
        run_group()
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_workers_draw_different_random_numbers():
    assert len(set(run_tasks(draw, [(), ()]))) == 2


def runs(pid):
    """Whether a process is alive. In a container the first process may never collect those whose parent has died."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_worker_dies_with_a_parent_that_was_killed(tmp_path):
    code = (
        "from week02_distributed.processes import Group\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_processes import pid_and_sleep\n"
        "with Group() as group:\n"
        "    group.start(pid_and_sleep, sys.argv[2])\n"
        f"    group.results({PATIENCE})\n"
    )
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", code, str(Path(__file__).parent), str(note)])
    try:
        until = time.monotonic() + PATIENCE
        while not (note.exists() and note.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        worker = int(note.read_text())
    finally:
        parent.kill()
        parent.wait()
    until = time.monotonic() + PATIENCE
    while runs(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not runs(worker)
