"""A tracker in one file of lines: whatever was logged before a SIGKILL is there after it.

A run is a folder. `run.json` says what it is; it is written once, whole, when the run begins. `log.jsonl` gets one
line for each call of :meth:`Run.log`, by one `write` on a file that was opened to append. The kernel has the bytes
when the call returns, and keeps them when the process is killed. (It does not keep them when the machine loses its
power: for that the line must also reach the disk, which `durable=True` waits for.)

A reader takes every line that ends and that parses. Only the last line can be torn, and only if the disk was full or
the power went; then it was never acknowledged.
"""

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Found:
    """A run as it was read back: what it is, and every number, as (step, value) in the order of the calls."""

    name: str
    facts: dict[str, Any]
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    finished: bool = False


class Run:
    """A run that is being written. Use as a context; what is logged counts at once."""

    def __init__(self, folder: Path, facts: Mapping[str, Any], name: str = "", durable: bool = False):
        self.name = name or uuid.uuid4().hex[:12]
        self.folder, self._durable = Path(folder) / self.name, durable
        self.folder.mkdir(parents=True)
        write_whole(self.folder / "run.json", json.dumps(facts, indent=1, sort_keys=True).encode())
        self._file = os.open(self.folder / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def log(self, step: int, **metrics: float) -> None:
        """Keep these numbers; when the call returns, a SIGKILL cannot take them back.

        Raises OSError if the line could not be written whole, for example on a full disk.
        """
        line = json.dumps([step, time.time(), metrics], separators=(",", ":")).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError(f"{self.folder}: step {step} was not written whole; is the disk full?")
        if self._durable:
            os.fsync(self._file)

    def finish(self) -> None:
        """Say that the run ended by itself. A run without this mark was killed, or still runs."""
        write_whole(self.folder / "finished", b"")
        os.close(self._file)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.finish()
        else:
            os.close(self._file)


def read(folder: Path) -> Found:
    """A run from its folder, finished or not. Raises FileNotFoundError where none has begun."""
    found = Found(Path(folder).name, json.loads((Path(folder) / "run.json").read_text()))
    for step, _, metrics in _lines(Path(folder) / "log.jsonl"):
        for key, value in metrics.items():
            found.metrics.setdefault(key, []).append((step, value))
    found.finished = (Path(folder) / "finished").exists()
    return found


def _lines(file: Path) -> Iterator[list]:
    for line in file.read_bytes().splitlines(keepends=True) if file.exists() else []:
        with contextlib.suppress(ValueError):
            if line.endswith(b"\n"):
                yield json.loads(line)


def search(folder: Path, **wanted: Any) -> list[Found]:
    """Runs whose facts hold these values, oldest first; a double underscore goes a level down: `config__lr=0.1`."""
    found = []
    for file in sorted(Path(folder).glob("*/run.json"), key=lambda file: file.stat().st_mtime_ns):
        run = read(file.parent)
        if all(_at(run.facts, key.split("__")) == value for key, value in wanted.items()):
            found.append(run)
    return found


def _at(tree: Any, path: list[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def write_whole(target: Path, content: bytes) -> None:
    """A file that is there whole or not at all: written beside its place, forced to disk, then renamed."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, target)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the rename itself is an entry of the folder
    finally:
        os.close(directory)


def same(one: float, two: float) -> bool:
    """Whether two logged numbers are equal to the last bit; nan equals nan."""
    return one == two or (math.isnan(one) and math.isnan(two))
