"""A function of a module in a process of its own, with JSON in and JSON out; and in a fork of such a process.

    call("crash", "resumed", steps=60)

A notebook's kernel has threads and an interpreter that nobody wants to lose, so that what is killed, forked, loaded
from an untrusted file or moved to another folder runs elsewhere. What the process prints besides goes nowhere.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from week09_experiment_tracking import __name__ as package

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 300.0  # seconds; only to end what hangs


class Failed(RuntimeError):
    """A function in another process raised; the message holds the end of its traceback."""


def environment() -> dict[str, str]:
    """What a process of ours gets: this environment's programs first, one thread, no word to any server."""
    own = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return {key: value for key, value in os.environ.items() if not key.startswith("DVC_")} | own


def start(module: str, function: str, **arguments: Any) -> subprocess.Popen:
    """Begin such a call, to be ended by :func:`result`."""
    command = [sys.executable, "-m", f"{package}.children", module, function, json.dumps(arguments)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment(), **pipes)


def result(process: subprocess.Popen) -> Any:
    """What the function returned. Raises Failed if it raised, or took longer than 300 s."""
    try:
        out, errors = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"nothing came back in {LONGEST:.0f} s") from None
    if process.returncode:
        raise Failed(errors.decode(errors="replace")[-2000:])
    return json.loads(out)


def call(module: str, function: str, **arguments: Any) -> Any:
    """Call `week09_experiment_tracking.MODULE.FUNCTION(**arguments)` in a new process."""
    return result(start(module, function, **arguments))


class Fork:
    """A function in a fork of this process: what it writes to its pipe can be read while it runs.

    Only for a process without other threads, such as one that :func:`start` began.
    """

    def __init__(self, function: Callable[[int], None]):
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            with contextlib.suppress(BaseException):
                os.close(self._read)
                function(write)
                status = 0
            os._exit(status)
        os.close(write)

    def line(self) -> bytes:
        """The next line, or what there is at the end."""
        line = b""
        while not line.endswith(b"\n") and (one := os.read(self._read, 1)):
            line += one
        return line

    def kill(self) -> None:
        """SIGKILL, which no process can catch, delay or clean up after."""
        os.kill(self.pid, 9)

    def end(self) -> tuple[int, bytes]:
        """Wait for it: its status (negative: the signal that ended it) and what it had still written."""
        rest = b""
        while part := os.read(self._read, 65536):
            rest += part
        os.close(self._read)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), rest


def heard_from_fork(function: Callable[[int], None], seconds: float) -> bytes:
    """What `function` writes to the pipe that it is given, in a fork that is killed after these seconds.

    The fork leads a group, so that what it has started ends with it. Its exceptions are not reported.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            os.setpgid(0, 0)
            function(writing)
        finally:
            os._exit(0)
    os.close(writing)
    said, end = b"", time.monotonic() + seconds
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        if not (piece := os.read(reading, 65536)):
            break
        said += piece
    for process in (child, -child):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reading)
    return said


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether the condition came true within these seconds."""
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


def main() -> None:
    """What the command line names; its result is the only thing that leaves by the standard output."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, function, arguments = sys.argv[1:]
    value = getattr(importlib.import_module(f"{package}.{module}"), function)(**json.loads(arguments))
    out.write(json.dumps(value))
    out.flush()


if __name__ == "__main__":
    main()
