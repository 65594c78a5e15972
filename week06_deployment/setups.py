"""Set-ups of the service that are restarted under load, ours and the usual ones; each is a process tree of its own.

Every set-up is a context manager: it ends what it started, whatever happens in between. Ports are the kernel's
choice: the servers listen on port 0 and say where they are.
"""

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import psutil

from effdl.processes import end

PATIENCE = 120.0
"""Seconds in which a server must be up: a busy machine may take long, and a broken one is seen by its exit."""

MODEL, APP = "week06_deployment.service.app:with_model", "week06_deployment.service.app:with_stub"

Restart = Callable[[], None]
"""Restarts every worker of a set-up, and returns when the last old one has gone."""


class NotUp(RuntimeError):
    """A server that did not start; the message holds the end of what it printed."""


@dataclass
class Running:
    """A server that runs: its process, its address and what it printed."""

    process: subprocess.Popen
    address: str = ""
    lines: list[str] = field(default_factory=list)
    _new: queue.Queue = field(default_factory=queue.Queue)

    @property
    def pid(self) -> int:
        """Of the process that was started: a master, where there is one."""
        return self.process.pid

    def workers(self) -> list[int]:
        """Process ids of its children, oldest first."""
        children = psutil.Process(self.pid).children()
        return [child.pid for child in sorted(children, key=lambda child: child.create_time())]

    def wait_for(self, pattern: str, seconds: float = PATIENCE) -> re.Match:
        """The next line that holds this pattern. Raises NotUp if the process ends or the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                line = self._new.get(timeout=0.1)
            except queue.Empty:
                if self.process.poll() is not None and self._new.empty():
                    break
                continue
            if found := re.search(pattern, line):
                return found
        raise NotUp(f"{pattern!r} was not printed; the last lines:\n" + "".join(self.lines[-20:]))

    def send(self, number: int) -> None:
        """Send a signal to the first process."""
        self.process.send_signal(number)


@contextlib.contextmanager
def running(
    command: Sequence[str], pattern: str = r"(http://[\d.]+:\d+)", **environment: str
) -> Iterator[Running]:
    """Start a command, wait for the line that says where it listens, and end all its processes at the end."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        start_new_session=True,
    )
    server = Running(process)

    def read() -> None:
        for line in process.stdout:
            server.lines.append(line)
            server._new.put(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        server.address = server.wait_for(pattern).group(1)
        yield server
    finally:
        end(process)
        reader.join(5)


def module(*arguments: object) -> list[str]:
    """The command line of a module of this environment."""
    return [sys.executable, "-m", *map(str, arguments)]


def status(address: str, path: str = "/readyz") -> int:
    """HTTP status of a GET, or 0 if there was no answer."""
    try:
        with urllib.request.urlopen(address + path, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something is so. Raises TimeoutError."""
    end_of_wait = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end_of_wait:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.02)


# --- restarts ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def ours(workers: int = 2, *options: object, stub: float | None = 0.003) -> Iterator[tuple[Running, Restart]]:
    """Our master and its workers; the second value restarts every worker."""
    command = module("week06_deployment.service", "--workers", workers, "--limit", 1000, *options)
    command += [] if stub is None else ["--stub", str(stub)]
    with running(command) as server:

        def restart() -> None:
            old = set(server.workers())
            server.send(signal.SIGHUP)
            event = json.loads(server.wait_for(r"(\{.*roll.*\})", 10 * PATIENCE).group(1))
            if event["event"] != "rolled":
                raise NotUp(str(event))
            until(lambda: not old & set(server.workers()))  # what the master says is not what we count

        yield server, restart


@contextlib.contextmanager
def uvicorn(workers: int = 2, app: str = APP) -> Iterator[tuple[Running, Restart]]:
    """uvicorn's own workers, replaced by SIGHUP."""
    command = module("uvicorn", "--factory", app, "--port", 0, "--workers", workers, "--no-access-log")
    command += ["--timeout-worker-healthcheck", "60"]  # 5 by default, which a busy machine may miss
    with running(command) as server:
        until(lambda: sum("Application startup complete" in line for line in server.lines) >= workers)

        def restart() -> None:
            server.send(signal.SIGHUP)
            for _ in range(workers):
                server.wait_for("Finished server process")

        yield server, restart


@contextlib.contextmanager
def gunicorn(workers: int = 2, app: str = APP) -> Iterator[tuple[Running, Restart]]:
    """gunicorn with its workers for ASGI, replaced by SIGHUP."""
    command = module("gunicorn", "-k", "asgi", "-w", workers, "-b", "127.0.0.1:0", f"{app}()")
    with running(command) as server:
        until(lambda: status(server.address) == 200)

        def restart() -> None:
            old = server.workers()
            server.send(signal.SIGHUP)
            until(lambda: not set(server.workers()) & set(old))

        yield server, restart
