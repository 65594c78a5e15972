"""Starts the small server, and asks it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from effdl.load import Answer, Http

ROOT = Path(__file__).resolve().parent.parent


class Served:
    """A small server that runs: its address, and a sender for each of its services."""

    def __init__(self, port: int):
        self.url = f"http://127.0.0.1:{port}"
        self.said: dict[str, dict[int, dict[str, Any]]] = {}

    def __getitem__(self, name: str) -> Http:
        """A sender of requests to one service.

        What the service answers is kept in ``said[name]``, by the request's number; a new sender begins it anew.
        """
        said: dict[int, dict[str, Any]] = {}
        self.said[name] = said

        def read(answer: Answer, number: int) -> str | None:
            if answer.status != 200:
                return str(answer.status)
            said[number] = json.loads(answer.body)
            return None

        return Http(f"{self.url}/{name}", body=b"", read=read)

    def services(self, name: str) -> np.ndarray:
        """Seconds of service that a queue has told in its answers to the last load, float64, one for each answer."""
        return np.array([answer["served"] for answer in self.said[name].values()])

    def ask(self, path: str) -> dict[str, Any]:
        """The JSON that stands at a path, such as ``name/gauge``."""
        with urllib.request.urlopen(f"{self.url}/{path}", timeout=60) as answer:
            return json.load(answer)


@contextmanager
def serving(**services: dict[str, Any]) -> Iterator[Served]:
    """A small server in a process of its own while the block runs: ``serving(name={"kind": "queue", ...})``.

    Raises RuntimeError if the process ends before it listens.
    """
    command = [sys.executable, "-m", "week06_deployment.small_server", json.dumps(services)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the small server did not start: {process.stderr.read().strip()[-500:]}")
        yield Served(int(line))
    finally:
        process.terminate()
        process.communicate()
