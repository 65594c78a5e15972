"""Starts everything that the weeks show, prints where it is, and stops all of it on Ctrl-C: `make services`.

A week that has services lists them in `weekNN_NAME/services.py`, in a function `services(folder)` that returns a list
of :class:`Service`; `folder` is a temporary one, for configuration and data. Services start in the order of the list,
each when the one before it answers.

    python -m effdl.services              # all weeks
    python -m effdl.services week06       # some of them
"""

import argparse
import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from effdl import processes

ROOT = Path(__file__).resolve().parent.parent
START = 300.0
"""Seconds in which a service must answer: they only end a hang. Some train or load a model first."""


@dataclass(frozen=True)
class Service:
    """A program to start, and how to see that it answers.

    Attributes:
        name: a short name, also of its log.
        command: the program and its arguments.
        address: what to print for a reader: an address to open, or a line to type.
        ready: is called until it returns something true; OSError means not yet. See :func:`answers`.
        environment: variables besides those of this process.
        missing: why it cannot run on this machine, in a sentence; empty where it can. It is then only named.
    """

    name: str
    command: Sequence[str]
    address: str
    ready: Callable[[], object]
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


class NotStarted(RuntimeError):
    """A service ended, or did not answer in time; the message holds the end of its log."""


def free_ports(count: int) -> list[int]:
    """TCP ports of the loopback interface that the kernel says are free, no two of them the same.

    Another program can take one before it is used. Prefer port 0 where a service says which one it got.
    """
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def answers(url: str) -> Callable[[], bool]:
    """For `ready`: whether an address answers over HTTP with a status below 500, asked through no proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready() -> bool:
        try:
            with direct.open(url, timeout=2) as answer:
                return answer.status < 500
        except urllib.error.HTTPError as error:
            return error.code < 500

    return ready


def listens(port: int) -> Callable[[], bool]:
    """For `ready`: whether something accepts connections at a port of the loopback interface."""

    def ready() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True

    return ready


class Running:
    """Services that run; ends them all at the end of a `with`, the last one first."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.children: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def log(self, name: str) -> Path:
        """Where a service's output goes."""
        return self.folder / f"{name.replace(' ', '-').replace('/', '-')}.log"

    def start(self, service: Service, stopped: Callable[[], bool] = lambda: False) -> None:
        """Start a service and wait until it answers, or until `stopped()`. Raises NotStarted."""
        with open(self.log(service.name), "wb") as log:
            try:
                # A session of its own: Ctrl-C reaches this program alone, which stops them in order.
                child = subprocess.Popen(
                    service.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env={**os.environ, **service.environment},
                    start_new_session=True,
                )
            except OSError as error:
                raise NotStarted(f"{service.name}: {error}") from None
        self.children[service.name] = child
        end = time.monotonic() + START
        while not stopped():
            with contextlib.suppress(OSError):
                if service.ready():
                    return
            if child.poll() is not None or time.monotonic() > end:
                what = "did not answer" if child.poll() is None else f"ended with {child.returncode}"
                processes.end(self.children.pop(service.name))
                tail = self.log(service.name).read_text(encoding="utf-8", errors="replace")[-600:].strip()
                raise NotStarted(f"{service.name} {what}. The end of its log:\n{tail}")
            time.sleep(0.1)

    def ended(self) -> list[str]:
        """Services that have ended by themselves."""
        return [name for name, child in self.children.items() if child.poll() is not None]

    def stop(self) -> None:
        """End all services and every process that they have started."""
        for child in list(self.children.values())[::-1]:
            processes.end(child)
        self.children.clear()


def lists(root: Path = ROOT) -> dict[str, Path]:
    """The weeks that have a list of services: name of the folder, and the list's file."""
    return {path.parent.name: path for path in sorted(root.glob("week*/services.py"))}


def of_weeks(weeks: Iterable[str], folder: Path) -> Iterator[Service]:
    """The services of some weeks, in order; each week has a folder of its own."""
    for week in weeks:
        own = folder / week
        own.mkdir()
        yield from importlib.import_module(f"{week}.services").services(own)


def run(services: Iterable[Service], folder: Path, stopped: threading.Event) -> int:
    """Start services, print their addresses, wait until `stopped` is set, stop them all. Returns the exit status."""
    failed = 0
    with Running(folder) as running:
        for service in services:
            if stopped.is_set():
                break
            if service.missing:
                print(f"  {service.name:24} not here: {service.missing}", flush=True)
                continue
            try:
                running.start(service, stopped.is_set)
            except NotStarted as error:
                failed = 1
                print(f"  {error}", flush=True)
            else:
                print(f"  {service.name:24} {service.address}", flush=True)
        if not stopped.is_set() and running.children:
            print(f"Ctrl-C stops all of them. Logs: {folder}", flush=True)
        told: set[str] = set()
        while running.children and not stopped.wait(0.5):
            for name in set(running.ended()) - told:
                told.add(name)
                print(f"  {name} has ended; its log: {running.log(name)}", flush=True)
        print("Stopping.", flush=True)
    return failed


def main() -> int:
    """The program: see the first lines of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m effdl.services", description="Start what the weeks show; Ctrl-C stops it."
    )
    parser.add_argument("weeks", nargs="*", help="such as week06; all weeks without it")
    asked, known = parser.parse_args().weeks, lists()
    chosen = [week for week in known if not asked or any(week.startswith(name) for name in asked)]
    if not chosen:
        parser.error(f"no services in {' '.join(asked) or ROOT}; there are: {', '.join(known) or 'none'}")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with tempfile.TemporaryDirectory(prefix="services-", ignore_cleanup_errors=True) as name:
        return run(of_weeks(chosen, Path(name)), Path(name), stopped)


if __name__ == "__main__":
    sys.exit(main())
