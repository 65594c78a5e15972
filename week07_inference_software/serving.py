"""A server that runs for as long as a `with` block: a free port, a start, a wait until it is ready, an end."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 120.0  # seconds until a start counts as failed: generous, as a busy machine needs it


class DidNotStart(RuntimeError):
    """A server ended, or was not ready in time; the message holds the end of what it printed."""


def answers(url: str) -> bool:
    """Whether a GET of the URL is answered with a status below 300. It goes through no proxy."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=5) as answer:
            return answer.status < 300
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextlib.contextmanager
def running(
    command: Sequence[str | os.PathLike], ready: str, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Start a command, wait until `ready` (a URL) answers, and end it with everything that it started.

    It also ends when this process dies: see `leash`.

    Args:
        environment: variables beside this process's own.

    Raises DidNotStart, with the last lines of the server's output.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, HERE / "leash.py", *map(os.fspath, command)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    words = log.read().decode("utf-8", "replace")[-3000:]
                    raise DidNotStart(f"{Path(command[0]).name} is not ready at {ready}:\n{words}")
                time.sleep(0.05)
            yield
        finally:
            process.communicate()  # closes its input


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this week with this Python."""
    return [sys.executable, "-m", f"week07_inference_software.{name}", *map(str, arguments)]
