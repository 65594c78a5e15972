"""The first worker functions of the seminar. They stand in a module, so that any process can import them."""

import multiprocessing
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection

from week02_distributed.processes import CONTEXT, Group, WorkerFailed


def square(number: float) -> float:
    """The smallest job there is."""
    return number * number


def slow_square(number: float) -> float:
    """The same, but it takes a while: waiting, not computing."""
    time.sleep(0.2)
    return number * number


def send_squares(outbox: Connection, numbers: list[float]) -> None:
    """Send the square of each number, one message each, and close the pipe: the reader must know when to stop."""
    for number in numbers:
        outbox.send(number * number)
    outbox.close()


def receive_all(inbox: Connection) -> list:
    """Everything that comes through a pipe until no process holds its writing end any more."""
    received = []
    while True:
        try:
            received.append(inbox.recv())
        except EOFError:
            return received


def push_then_read(pipe: Connection, nbytes: int) -> int:
    """Write a large message, and only then read the other's: how beginners build a deadlock."""
    pipe.send_bytes(bytes(nbytes))
    return len(pipe.recv_bytes())


def read_then_push(pipe: Connection, nbytes: int) -> int:
    """The partner that gets along with `push_then_read`."""
    received = len(pipe.recv_bytes())
    pipe.send_bytes(bytes(nbytes))
    return received


def exchange(second: Callable, nbytes: int, deadline: float = 2.0) -> list[int] | None:
    """`push_then_read` against `second` with messages of this size: what both return, or None after the deadline."""
    left, right = CONTEXT.Pipe()
    try:
        with Group() as group:
            group.start(push_then_read, left, nbytes)
            group.start(second, right, nbytes)
            return group.results(deadline)
    except WorkerFailed as error:
        print(error)
        return None


def fail(number: float) -> float:
    """A worker with a mistake in it."""
    raise ZeroDivisionError(f"cannot invert {number}")


def sleep(seconds: float) -> None:
    """A worker that takes long."""
    time.sleep(seconds)


def report(function: Callable, argument: object, outbox: Connection) -> None:
    """Call a function and send (False, its result), or (True, its traceback)."""
    try:
        outbox.send((False, function(argument)))
    except Exception:
        outbox.send((True, traceback.format_exc()))


def trials(run_all: Callable) -> list:
    """What `run_all(function, arguments, deadline)` makes of workers that return, that fail and that hang.

    Returns:
        The results of three workers; whether a failure was raised here in time; whether a worker that hangs was given
        up; child processes left.
    """
    squares = list(run_all(square, [1, 2, 3], 60))
    return [squares, _raises(run_all, fail, 0, 60, 30), _raises(run_all, sleep, 120, 1, 60), _left()]


def _raises(run_all: Callable, function: Callable, argument: float, deadline: float, within: float) -> bool:
    start = time.monotonic()
    try:
        run_all(function, [argument], deadline)
    except NotImplementedError:
        raise
    except Exception:
        return time.monotonic() - start < within
    return False


def _left() -> int:
    return len(multiprocessing.active_children())
