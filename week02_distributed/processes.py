"""Start functions in processes, get their results or their tracebacks, and leave no process behind.

Everything here is built from `multiprocessing`. The seminar takes it apart.
"""

import contextlib
import multiprocessing
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

import numpy as np

from effdl.launch import PRELOAD, without_main

# Workers are forks of a server that has done the slow imports and has no threads. A fork of the notebook itself
# would inherit its locks, but not the threads that would release them.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*PRELOAD, "scipy.sparse"])

PATIENCE = float(os.environ.get("EFFDL_DEADLINE", 60))
"""Seconds after which workers are given up. Tests say more than a reader would wait, for a slow machine."""


class ByValue:
    """A function that other processes can get although it is defined in a notebook: its code travels with it.

    What it uses of the notebook travels too; modules are imported where it arrives. cloudpickle does that.
    """

    def __init__(self, function: Callable):
        import cloudpickle

        self._code = cloudpickle.dumps(function)

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        return pickle.loads(self._code)(*args)


class WorkerFailed(RuntimeError):
    """A worker raised, died or took too long. The message holds its traceback where there is one."""


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """For checks: a worker's failure as its last line, and as NotImplementedError where that is what it was."""
    try:
        yield
    except WorkerFailed as error:
        last = str(error).strip().splitlines()[-1]
        if last.startswith("NotImplementedError"):
            raise NotImplementedError from None
        raise WorkerFailed(last) from None


class Group:
    """Worker processes that end with the `with` block, however it ends.

    >>> with Group() as group:
    ...     group.start(math.sqrt, 2.0)
    ...     group.start(math.sqrt, 9.0)
    ...     group.results(deadline=10)
    [1.4142135623730951, 3.0]
    """

    def __init__(self):
        self.processes: list[multiprocessing.Process] = []
        self._inboxes: list[multiprocessing.connection.Connection] = []
        self._values: dict[int, Any] = {}

    def __enter__(self) -> "Group":
        return self

    def start(self, function: Callable, *args: Any) -> None:
        """Call `function(*args)` in a new process. The function must live in a module, not in the notebook."""
        inbox, outbox = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_work, args=(function, args, outbox), daemon=True)
        with without_main():
            process.start()
        # Only the worker may hold the writing end: when it dies, the reading end reports the end of the file.
        outbox.close()
        self.processes.append(process)
        self._inboxes.append(inbox)

    def poll(self, seconds: float = 0.0) -> bool:
        """Wait up to `seconds` for news; True when every worker has returned.

        Raises WorkerFailed with the first failure.
        """
        waiting = {inbox: w for w, inbox in enumerate(self._inboxes) if w not in self._values}
        for inbox in wait(list(waiting), timeout=seconds) if waiting else ():
            worker = waiting[inbox]
            self._values[worker] = self._receive(worker, inbox)
        return len(self._values) == len(self.processes)

    def _receive(self, worker: int, inbox: multiprocessing.connection.Connection) -> Any:
        try:
            failed, value = inbox.recv()
        except EOFError:
            self.processes[worker].join()
            code = self.processes[worker].exitcode
            raise WorkerFailed(f"worker {worker} died without a word, exit code {code}") from None
        if failed:
            raise WorkerFailed(f"worker {worker} raised\n{value}")
        return value

    def results(self, deadline: float = PATIENCE) -> list[Any]:
        """What the workers returned, in the order of their start. Raises WorkerFailed, also after `deadline` s."""
        end = time.monotonic() + deadline
        while not self.poll(max(0.0, end - time.monotonic())):
            if time.monotonic() > end:
                late = [w for w in range(len(self.processes)) if w not in self._values]
                raise WorkerFailed(f"workers {late} did not return within {deadline:g} s")
        return [self._values[worker] for worker in range(len(self.processes))]

    def __exit__(self, *exception: object) -> None:
        for process in self.processes:
            if len(self._values) < len(self.processes):
                process.kill()  # SIGTERM can be ignored, and a worker in a long C call does not see it
        for process, inbox in zip(self.processes, self._inboxes, strict=True):
            process.join()
            process.close()
            inbox.close()


def run_tasks(function: Callable, tasks: Sequence[tuple], deadline: float = PATIENCE) -> list[Any]:
    """`[function(*task) for task in tasks]`, each call in a process of its own, all at once."""
    with Group() as group:
        for task in tasks:
            group.start(function, *task)
        return group.results(deadline)


def _work(function: Callable, args: tuple, outbox: multiprocessing.connection.Connection) -> None:
    """What a worker process runs: the call, and one message about how it ended."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    np.random.seed()  # every fork has the server's state, and so all would draw the same numbers
    try:
        message = (False, function(*args))
    except BaseException:  # whatever it is, the parent must hear of it
        message = (True, traceback.format_exc())
    outbox.send(message)


def _end_with_parent() -> None:
    """End this process when its parent is gone, even if the parent was killed and could not say so."""
    multiprocessing.parent_process().join()
    os._exit(1)
