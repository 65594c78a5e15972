"""Who stands still and who does not, with real processes. To take a slow program for a dead one costs points."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from effdl.quiet import spinning
from grader.checks import StudentError
from grader.examine import whereabouts
from grader.examine.examiner import Examiner
from grader.examine.job import Job
from grader.sandbox import standstill
from grader.sandbox.build import Limits

pytestmark = [pytest.mark.alone, pytest.mark.drawn(3)]

QUIET = 0.8  # seconds, so that a pause of two would be taken for a standstill if it were one
PAUSE = 2.5
LONG = 200.0  # a limit that no test reaches, and before the ten minutes after which gloo gives up


@pytest.fixture
def hurried(examiner, monkeypatch):
    monkeypatch.setattr(standstill, "QUIET", QUIET / examiner.place.stretch)


@pytest.fixture
def hand_in(examiner, submit):
    """Submit code whose limit is the same on every machine."""
    return lambda code: submit(code, wall=LONG / examiner.place.stretch)


@pytest.fixture(scope="module")
def bare():
    with Examiner("plain") as one:
        yield one


@pytest.fixture(params=["namespaces", "plain", "no control groups"])
def anywhere(request, bare, hand_in, monkeypatch):
    """Submit code to a worker with isolation, without any, or with namespaces alone."""

    def make(code):
        sub = hand_in(code)
        if request.param == "plain":
            monkeypatch.setattr(sub, "_place", bare.place)
        elif request.param == "no control groups":
            monkeypatch.setattr(sub._place, "cgroups", None)
        return sub

    return make


def fails(run):
    with pytest.raises(StudentError) as caught:
        run()
    return caught.value


RING = """
import torch
import torch.distributed as dist

def everybody_receives(x, rank, size):
    dist.all_reduce(x)
    dist.recv(x, (rank + 1) % size)

def everybody_sends(x, rank, size):
    everything = torch.zeros(4_000_000)
    dist.send(everything, (rank + 1) % size)
    dist.recv(everything, (rank - 1) % size)

def one_does_not_come(x, rank, size):
    if rank:
        dist.barrier()

def rank_0_sleeps(x, rank, size):
    if rank == 0:
        import time
        time.sleep(PAUSE)
    dist.all_reduce(x)

def rank_0_works(x, rank, size):
    if rank == 0:
        import time
        end = time.monotonic() + PAUSE
        while time.monotonic() < end:
            pass
    dist.all_reduce(x)
"""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            "everybody_receives",
            r"all 3 ranks stand still, nobody .* ranks 0, 1, 2 wait in dist.recv, work.py line 7",
        ),
        ("everybody_sends", "ranks 0, 1, 2 wait in dist.send, work.py line 11"),
        (
            "one_does_not_come",
            "ranks 1, 2 stand still.* in dist.barrier, work.py line 16; the others have returned",
        ),
    ],
)
@pytest.mark.usefixtures("hurried")
def test_a_deadlock_ends_and_says_where_each_rank_stands(anywhere, function, says):
    error = fails(lambda: anywhere(RING).ranks(f"work:{function}", world=3, per_rank=torch.zeros(3, 8)))
    assert re.search(says, error.why), error.why
    assert error.yours.startswith("dist.")


def test_a_rank_that_works_until_its_time_is_over_says_at_which_line(submit):
    code = """
import torch.distributed as dist

def count(x, rank, size):
    while rank == 1:
        x += 1
    dist.all_reduce(x)
"""
    error = fails(lambda: submit(code).ranks("work:count", world=2, per_rank=torch.zeros(2, 8), wall=2))
    assert re.search(r"ranks 0, 1 did not answer within [\d.]+ s: ", error.why), error.why
    assert "rank 0 is in dist.all_reduce, work.py line 7" in error.why
    assert re.search(r"rank 1 is (in \S+, |at )work\.py line [56]", error.why), error.why


@pytest.mark.parametrize("function", ["rank_0_sleeps", "rank_0_works"])
@pytest.mark.usefixtures("hurried")
def test_ranks_wait_for_one_that_sleeps_or_works(anywhere, function):
    code = RING.replace("PAUSE", str(PAUSE))
    results = anywhere(code).ranks(f"work:{function}", world=3, per_rank=torch.ones(3, 8)).results
    assert all(torch.equal(result, torch.full((8,), 3.0)) for result in results)


ALONE = {
    "a lock taken twice": ("lock = threading.Lock(); lock.acquire(); lock.acquire()", "at work.py line 7"),
    "a thread that waits for its lock": (
        "lock = threading.Lock(); lock.acquire(); thread = threading.Thread(target=lock.acquire, daemon=True);"
        "thread.start(); thread.join()",
        "in threading.join, work.py line 7",
    ),
    "a child joined before its result is taken": (
        "ours, theirs = multiprocessing.Pipe(); context = multiprocessing.get_context('fork');"
        "child = context.Process(target=theirs.send, args=(bytes(10_000_000),), daemon=True);"
        "child.start(); child.join()",
        "in process.join, work.py line 7",
    ),
    "a queue that nobody fills": ("queue.Queue().get()", "in queue.get, work.py line 7"),
    "a pipe of its own": ("os.read(os.pipe()[0], 1)", "at work.py line 7"),
    "a poll without a limit": ("select.select([os.pipe()[0]], [], [])", "at work.py line 7"),
}
HEAD = """
import ctypes, multiprocessing, os, queue, select, signal, socket, subprocess, sys, threading, time

PAUSE = {pause}

def run():
    {body}
    return "done"
"""


def alone(body):
    return HEAD.format(pause=PAUSE, body=body)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.usefixtures("hurried")
def test_a_worker_alone_stands_still(hand_in, monkeypatch, name):
    body, says = ALONE[name]
    # The kernel tells of the alarms of the whole machine, and another program may have one.
    monkeypatch.setattr(standstill, "_alarm_is_set", lambda: False)
    error = fails(lambda: hand_in(alone(body)).call("work:run"))
    assert "your code stands still" in error.why
    assert error.why.endswith(says)


@pytest.mark.usefixtures("hurried")
def test_ranks_that_hang_while_they_are_imported_have_not_returned(hand_in):
    code = "import os\nos.read(os.pipe()[0], 1)\ndef work(rank, size): pass\n"
    error = fails(lambda: hand_in(code).ranks("work:work", world=2))
    assert "rank 0 stands still" in error.why
    assert error.why.endswith("the others wait for it to start")


@pytest.mark.usefixtures("hurried")
def test_a_sleep_beyond_the_limit_helps_nobody(hand_in):
    error = fails(lambda: hand_in(alone("time.sleep(10_000)")).call("work:run"))
    assert "it waits at work.py line 7" in error.why


WAITS = {
    "a sleep": "time.sleep(PAUSE)",
    "a lock with a limit": "lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=PAUSE)",
    "an event with a limit": "threading.Event().wait(PAUSE)",
    "select with a limit": "select.select([os.pipe()[0]], [], [], PAUSE)",
    "poll with a limit": "select.poll().poll(1000 * PAUSE)",
    "epoll with a limit": "select.epoll().poll(PAUSE)",
    "a socket with a limit": "one, two = socket.socketpair(); one.settimeout(PAUSE)\n"
    "    try: one.recv(1)\n    except TimeoutError: pass",
    "a thread that sleeps": "t = threading.Thread(target=time.sleep, args=(PAUSE,)); t.start(); t.join()",
    "a child that sleeps": "subprocess.run(['sleep', str(PAUSE)], check=True)",
    "a child that works": "subprocess.run([sys.executable, '-c', "
    "f'import time; e = time.time() + {PAUSE}\\nwhile time.time() < e: pass'], check=True)",
    "a poll many times a second": "end = time.time() + PAUSE\n    while time.time() < end: time.sleep(0.01)",
    "a timer's signal": "signal.signal(signal.SIGALRM, lambda *_: [][0]); signal.setitimer(0, PAUSE)\n"
    "    try: os.read(os.pipe()[0], 1)\n    except IndexError: pass",
    "a child whose alarm ends it": "if (child := os.fork()) == 0: signal.alarm(2); os.read(os.pipe()[0], 1)\n"
    "    os.waitpid(child, 0)",
    "a socket with a limit of the kernel's": "one, two = socket.socketpair()\n"
    "    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(PAUSE).to_bytes(8, 'little') + bytes(8))\n"
    "    try: one.recv(1)\n    except BlockingIOError: pass",
    "a connection that the kernel holds back": "server = socket.create_server(('127.0.0.1', 0))\n"
    "    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)\n"
    "    client = socket.create_connection(server.getsockname()); server.accept()",
    "a wait for a signal": "signal.pthread_sigmask(0, [10]); signal.sigtimedwait([10], PAUSE)",
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.usefixtures("hurried")
def test_who_goes_on_by_itself_does_not_stand_still(hand_in, name):
    assert hand_in(alone(WAITS[name])).call("work:run").result == "done"


@pytest.mark.parametrize(
    "name", ["a sleep", "a lock with a limit", "a child that works", "a socket with a limit"]
)
@pytest.mark.usefixtures("hurried")
def test_the_same_without_isolation(hand_in, bare, monkeypatch, name):
    sub = hand_in(alone(WAITS[name]))
    monkeypatch.setattr(sub, "_place", bare.place)
    assert sub.call("work:run").result == "done"


@pytest.mark.usefixtures("hurried")
def test_a_busy_machine_is_no_standstill(hand_in):
    code = (
        RING + "\ndef work(x, rank, size):\n    for _ in range(300): dist.all_reduce(x); sum(range(20_000))\n"
    )
    with spinning(3 * (os.cpu_count() or 1)):
        hand_in(code).ranks("work:work", world=4, per_rank=torch.zeros(4, 100_000))


@pytest.mark.usefixtures("hurried")
def test_a_deadlock_ends_on_a_busy_machine_too(hand_in):
    sub = hand_in(RING)
    with spinning(os.cpu_count() or 1):
        error = fails(lambda: sub.ranks("work:everybody_receives", world=3, per_rank=torch.zeros(3, 8)))
    assert "all 3 ranks stand still" in error.why


@contextlib.contextmanager
def process(code):
    """A job of one process outside a sandbox, as `Watch` sees it; nobody answers."""

    def wait(done, until):
        time.sleep(max(0.0, until - time.perf_counter()))
        return done()

    child = subprocess.Popen(
        [sys.executable, "-c", f"print(flush=True); {code}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    child.stdout.readline()
    leader = SimpleNamespace(pid=os.getpid())
    try:
        yield SimpleNamespace(
            pid=child.pid,
            members=lambda: {child.pid},
            is_frozen=lambda: False,
            has_gpu=False,
            ranks=1,
            wait=wait,
            leader=leader,
            printed=0,
            last_byte=0.0,
        )
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def stands(job, limit=LONG, seconds=PAUSE):
    """Watch a job for some seconds, whose time would last longer."""
    watch = standstill.Watch(job, time.perf_counter() + limit)
    end = time.perf_counter() + seconds
    watch.wait(lambda: time.perf_counter() > end)
    return watch.stood


READS = "import os; os.read(os.pipe()[0], 1)"


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(standstill, "QUIET", QUIET)


@pytest.mark.usefixtures("hurry")
def test_a_process_that_waits_for_itself_stands_still():
    with process(READS) as job:
        time.sleep(0.2)
        assert stands(job, seconds=60)


@pytest.mark.usefixtures("hurry")
def test_a_process_that_waits_for_a_gpu_is_left_its_time():
    with process(READS) as job:
        time.sleep(0.2)
        job.has_gpu = True
        assert not stands(job)


@pytest.mark.usefixtures("hurry")
def test_a_stopped_process_does_not():
    with process(READS) as job:
        os.kill(job.pid, signal.SIGSTOP)
        assert not stands(job)


@pytest.mark.usefixtures("hurry")
def test_a_starved_process_does_not():
    """It may run and is not let: one processor, which others keep."""
    core = min(os.sched_getaffinity(0))
    spin = "while True: pass"
    with process(f"exec({spin!r})") as job, contextlib.ExitStack() as others:
        os.sched_setscheduler(job.pid, os.SCHED_IDLE, os.sched_param(0))
        os.sched_setaffinity(job.pid, {core})
        for _ in range(2):
            os.sched_setaffinity(others.enter_context(process(f"exec({spin!r})")).pid, {core})
        assert not stands(job)


@pytest.mark.usefixtures("hurry")
def test_a_process_that_may_not_be_read_does_not(monkeypatch):
    def refuse(path):
        if path.endswith("syscall"):
            raise PermissionError(path)
        return whole(path)

    whole = standstill.read
    with process(READS) as job:
        monkeypatch.setattr(standstill, "read", refuse)
        assert not stands(job)


@pytest.mark.usefixtures("hurry")
def test_a_terminal_or_a_timer_may_wake_it():
    for code in (
        "import os, pty; os.read(os.open(os.ttyname(pty.openpty()[1]), os.O_RDWR | os.O_NOCTTY), 1)",
        "import ctypes, os; ctypes.CDLL(None).timerfd_create(1, 0); os.read(os.pipe()[0], 1)",
        "import os, signal; signal.signal(14, print); os.read(os.pipe()[0], 1)",
    ):
        with process(code) as job:
            time.sleep(0.3)
            assert not stands(job), code


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("option", ["SO_RCVTIMEO", "SO_SNDTIMEO"])
def test_a_socket_that_gives_up_by_itself_does_not(option):
    code = f"""
import socket, struct
one, other = socket.socketpair()
one.setsockopt(socket.SOL_SOCKET, socket.{option}, struct.pack("qq", 5, 0))
one.recv(1)
"""
    with process(code) as job:
        time.sleep(0.3)
        assert not stands(job)


@pytest.mark.usefixtures("hurry")
def test_an_end_of_the_limit_before_the_timeout_makes_it_certain():
    code = "import threading; threading.Event().wait(100)"
    with process(code) as job:
        time.sleep(0.3)
        assert not stands(job, limit=200.0)
        assert stands(job, limit=60.0, seconds=30)


@pytest.mark.usefixtures("hurry")
def test_a_machine_without_proc_knows_no_standstill(monkeypatch):
    monkeypatch.setattr(standstill, "_CALLS", {})
    with process(READS) as job:
        assert not stands(job)


@pytest.mark.usefixtures("hurried")
def test_a_frozen_worker_does_not(hand_in, examiner):
    if not (examiner.place.cgroups and examiner.place.isolated):
        pytest.skip("needs control groups")
    sub = hand_in(alone("os.read(os.pipe()[0], 1)"))
    job = Job(examiner.place, sub._packed, 1, Limits())
    try:
        deadline = time.perf_counter() + LONG
        sub._start(job, {"target": "work:run", "driver": None, "world": 1, "group": False}, deadline)
        job.send(0, {"args": [], "kwargs": {}, "in_place": False, "answer": "a"}, deadline)
        time.sleep(0.5)
        job.freeze(True)
        assert not stands(job)
        job.freeze(False)
        assert stands(job, seconds=60)
    finally:
        job.close()


# --- what a worker says of where it stands is a hint -----------------------------------------------------------

TRACE = """Current thread 0x1 (most recent call first):
  File "/usr/lib/torch/distributed/distributed_c10d.py", line 9 in send
  File "/usr/lib/torch/distributed/c10d_logger.py", line 9 in wrapper
  File "/submission/allreduce.py", line 14 in ring
  File "driver.py", line 3 in run
  File "<string>", line 1 in <module>
"""


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        (TRACE, ("allreduce.py", 14, "dist.send")),
        (
            TRACE.replace("/submission/", "/tmp/grader-1-x/rank0/submission/"),
            ("allreduce.py", 14, "dist.send"),
        ),
        (TRACE.replace("allreduce.py", "hidden_checks.py"), ("", 0, "dist.send")),
        (TRACE.replace("in send", "in <b>\x1b[31msend"), ("allreduce.py", 14, "")),
        (TRACE.replace("line 14", "line " + "9" * 50), ("", 0, "dist.send")),
        ("nothing of the kind", None),
        ("", None),
    ],
)
def test_a_place_is_a_line_of_the_students_own_files(trace, found):
    assert whereabouts.where(trace, ["allreduce.py", "other.py"]) == found


@pytest.mark.usefixtures("hurried")
def test_who_hides_where_it_stands_is_told_so(hand_in):
    sub = hand_in(alone("signal.signal(signal.SIGRTMAX, signal.SIG_IGN); os.read(os.pipe()[0], 1)"))
    assert fails(lambda: sub.call("work:run")).why.endswith("it did not say where")


@pytest.mark.usefixtures("hurried")
def test_who_lies_about_where_it_stands_lies_on_one_line(hand_in):
    lie = "<b>\\\\x1b[31m" + 2000 * "x"
    body = (
        "signal.signal(signal.SIGRTMAX, lambda *_: os.write(2, "
        f'b\'  File "/submission/work.py", line 99999 in {lie}\\n  File "x", line 1 in <module>\\n\'))\n'
        "    os.read(os.pipe()[0], 1)"
    )
    error = fails(lambda: hand_in(alone(body)).call("work:run"))
    assert error.why.endswith("it waits at work.py line 99999")
    assert error.yours == ""
