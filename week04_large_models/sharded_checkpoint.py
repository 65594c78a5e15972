"""A checkpoint that every rank writes its part of, and that any number of ranks can read.

A checkpoint is a folder: for each rank a file of raw numbers and an index, which says what lies where. While it is
being written the folder's name ends in `.part`. Rank 0 renames it once everybody is done, in a single step of the
file system, so that a folder without `.part` is complete, whoever was killed and when.
"""

import json
import os
import re
import shutil
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist

_NAME = re.compile(r"step-(\d{8})")


@dataclass(frozen=True)
class Piece:
    """A stretch of a long vector: its values, the place of the first one, and how long the vector is."""

    values: torch.Tensor
    start: int
    total: int


@dataclass(frozen=True)
class _Entry:
    """One piece in a rank's file. `start` and `count` are in elements, `offset` is in bytes."""

    name: str
    dtype: str
    start: int
    count: int
    total: int
    offset: int
    checksum: int


def write(folder: str | Path, step: int, pieces: dict[str, Piece]) -> None:
    """Write this rank's pieces of checkpoint `step` into `folder`, valid after `commit`. All ranks call it.

    A piece is flat. Those of one name together cover its vector. A name of one rank alone (its random state, say) is
    a vector that this rank holds from start to end.
    """
    partial = _place(folder, step).with_suffix(".part")
    if dist.get_rank() == 0:
        shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
        partial.mkdir(parents=True)
    dist.barrier()
    _write(partial / f"rank-{dist.get_rank()}", pieces)


def commit(folder: str | Path, step: int) -> None:
    """Make checkpoint `step` valid, once all ranks have written theirs. All ranks call it."""
    dist.barrier()
    if dist.get_rank() == 0:
        final = _place(folder, step)
        shutil.rmtree(final, ignore_errors=True)
        final.with_suffix(".part").rename(final)
        _sync(final.parent)
    dist.barrier()


def latest(folder: str | Path) -> int | None:
    """The step of the newest complete checkpoint in `folder`, or None."""
    found = [_NAME.fullmatch(path.name) for path in Path(folder).glob("step-*")]
    return max((int(match[1]) for match in found if match), default=None)


def lengths(folder: str | Path, step: int) -> dict[str, int]:
    """How many elements each vector of a checkpoint has, by name."""
    return {entry.name: entry.total for _, entry in _entries(folder, step)}


def load(folder: str | Path, step: int, wanted: dict[str, tuple[int, int]]) -> dict[str, torch.Tensor]:
    """The elements from start to end of each vector in `wanted`, {name: (start, end)}, of checkpoint `step`.

    Who wrote them does not matter: a rank reads from all files what it wants, and nothing else. Raises KeyError for a
    name that the checkpoint lacks, ValueError for a stretch that it does not cover or a file that was changed.
    """
    found: dict[str, torch.Tensor] = {}
    covered = dict.fromkeys(wanted, 0)
    for path, entry in _entries(folder, step):
        if entry.name not in wanted:
            continue
        start, end = wanted[entry.name]
        low, high = max(start, entry.start), min(end, entry.start + entry.count)
        result = found.setdefault(entry.name, torch.empty(end - start, dtype=getattr(torch, entry.dtype)))
        if low < high:
            result[low - start : high - start] = _read(path, entry)[low - entry.start : high - entry.start]
            covered[entry.name] += high - low
    for name, (start, end) in wanted.items():
        if name not in found:
            raise KeyError(f"{folder}, step {step}, has no {name}; it has {sorted(lengths(folder, step))}")
        if covered[name] != end - start:
            raise ValueError(
                f"{folder}, step {step}, holds {covered[name]} of {end - start} elements of {name}"
            )
    return found


def _place(folder: str | Path, step: int) -> Path:
    return Path(folder) / f"step-{step:08d}"


def _write(path: Path, pieces: dict[str, Piece]) -> None:
    """Write the pieces to `path`.bin and their index to `path`.json, and wait until the disk has them."""
    entries, offset = [], 0
    with open(path.with_suffix(".bin"), "wb") as file:
        for name, piece in pieces.items():
            values = piece.values.detach().cpu().contiguous()
            raw = values.view(torch.uint8).numpy()
            file.write(raw)
            kind = str(values.dtype).removeprefix("torch.")
            entries.append(_Entry(name, kind, piece.start, len(values), piece.total, offset, zlib.crc32(raw)))
            offset += len(raw)
        file.flush()
        os.fsync(file.fileno())
    with open(path.with_suffix(".json"), "w") as file:
        json.dump([asdict(entry) for entry in entries], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Wait until the disk has the folder's list of names."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _entries(folder: str | Path, step: int) -> list[tuple[Path, _Entry]]:
    """Everything in a checkpoint, with the file that holds it."""
    place = _place(folder, step)
    indexes = sorted(place.glob("rank-*.json"))
    if not indexes:
        raise FileNotFoundError(f"{place} is no complete checkpoint; the newest one is {latest(folder)}")
    return [
        (index.with_suffix(".bin"), _Entry(**entry))
        for index in indexes
        for entry in json.loads(index.read_text())
    ]


def _read(path: Path, entry: _Entry) -> torch.Tensor:
    """The values of one piece. Raises ValueError if they are not those that were written."""
    dtype = getattr(torch, entry.dtype)
    with open(path, "rb") as file:
        file.seek(entry.offset)
        raw = bytearray(file.read(entry.count * dtype.itemsize))
    if zlib.crc32(raw) != entry.checksum:
        raise ValueError(f"{path}: {entry.name} is not what was written; take an older checkpoint")
    return torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
