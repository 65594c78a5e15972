"""Parsers of ours on a stranger's text: a clock and a limit on memory end them, and the next text is read."""

import contextlib
import os
import re
import signal
import threading
import time

import psutil
import pytest

from grader.safe import apart, clock
from grader.safe.clock import TooLong, at_most, begin_page


def test_a_child_returns_what_the_function_returns_and_raises_what_it_raises():
    assert apart.call("json:loads", '{"a": [1, "\\ud800"]}') == {"a": [1, "\ud800"]}
    assert apart.call("json:dumps", object()) == "null"
    with pytest.raises(RuntimeError, match="JSONDecodeError"):
        apart.call("json:loads", "{")


@pytest.mark.parametrize(
    ("target", "args", "why"),
    [
        ("re:match", ["(a*)*b", "a" * 40], "takes more than 1 s"),
        ("builtins:bytearray", [1 << 30], "takes more than 1024 MiB of memory"),
        ("os:abort", [], "makes its reader crash (signal 6)"),
    ],
)
def test_what_does_not_end_by_itself_is_ended_with_a_sentence_and_the_next_text_is_read(target, args, why):
    with pytest.raises(apart.Ended, match=re.escape(why)):
        apart.call(target, *args, seconds=1, memory=1 << 30)
    assert apart.call("json:loads", "7") == 7


def test_a_child_that_waits_for_ever_is_ended_too():
    with pytest.raises(apart.Ended, match=r"more than 0\.05 s"):
        apart.call("time:sleep", 600, seconds=0.05)


def test_a_server_that_somebody_kills_costs_no_call_and_in_the_end_others_are_started():
    for number in range(3 * apart._alive + 3):
        assert apart.call("json:loads", str(number)) == number
        server = apart._idle[-1]
        if server.pid:
            os.kill(server.pid, signal.SIGKILL)


def test_one_that_hangs_is_ended_and_nobody_elses_work():
    found = []

    def others():
        found.extend(apart.call("time:sleep", 0.2) for _ in range(8))

    thread = threading.Thread(target=others)
    thread.start()
    with pytest.raises(apart.Ended, match="more than"):
        apart.call("time:sleep", 600, seconds=0.01)
    thread.join()
    assert found == [None] * 8


def at_work(group):
    """Return the processes of this group that have not ended."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def test_servers_that_were_killed_as_they_waited_are_no_fault_of_a_text():
    apart.call("json:loads", "1")
    for server in apart._idle:
        if server.pid:
            os.kill(server.pid, signal.SIGKILL)
    assert apart.call("json:loads", "2") == 2


def test_an_interrupted_call_leaves_nothing_at_work():
    def interrupt(*_):
        raise KeyboardInterrupt

    apart.call("json:loads", "1")
    server = apart._idle[-1]  # the next one, too
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            apart.call("time:sleep", 600)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    end = time.monotonic() + 60
    while time.monotonic() < end and at_work(server.pid):
        time.sleep(0.05)
    assert not at_work(server.pid)


def test_one_text_that_takes_long_holds_up_no_other():
    apart.begin("json:loads")
    ended = []
    long = threading.Thread(target=lambda: ended.append(apart.call("time:sleep", 3)))
    long.start()
    began = time.monotonic()
    assert apart.call("json:loads", "1") == 1
    assert long.is_alive() or time.monotonic() - began > 2
    long.join()
    assert ended == [None]


def test_one_that_is_killed_again_and_again_is_given_up():
    with pytest.raises(apart.Ended, match="killed again and again"):
        apart.call("signal:raise_signal", signal.SIGKILL)


def _for_ever(_):
    while True:
        pass


def test_the_clock_ends_a_loop_and_leaves_nothing_behind():
    before = signal.getsignal(signal.SIGPROF)
    with pytest.raises(TooLong), at_most(0.05):
        re.sub("x", _for_ever, "x")
    assert signal.getsignal(signal.SIGPROF) is before
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def test_the_clock_ends_a_regular_expression_and_counts_from_the_outermost():
    with pytest.raises(TooLong, match=r"0\.05 s"), at_most(0.05), at_most(1e6):
        re.match("(a*)*b", "a" * 40)


def test_the_blocks_of_a_page_share_its_time(monkeypatch):
    monkeypatch.setattr(clock, "_left", None)
    begin_page(0.1)
    for _ in range(3):
        with pytest.raises(TooLong), at_most(0.08):
            re.sub("x", _for_ever, "x")
    started = time.process_time()
    for _ in range(20):
        with pytest.raises(TooLong), at_most(600):
            re.sub("x", _for_ever, "x")
    assert time.process_time() - started < 5
    begin_page(600)
    with at_most(600):
        assert re.sub("x", "y", "x") == "y"
