"""A store whose names are hashes of what it holds, and four ways to cut a file before it goes in.

The name of an object is the SHA-256 of its bytes. So equal content is stored once, content never changes under its
name, and a reader can check what it got. DVC's cache and Git's objects are such stores.
"""

import gzip
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from week09_experiment_tracking.tracker import write_whole


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


class Store:
    """Objects in a folder, under the hash of their content."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)

    def _place(self, name: str) -> Path:
        return self.folder / name[:2] / name[2:]

    def put(self, content: bytes) -> str:
        """Keep these bytes; return their name. What is there already is not written again."""
        name = digest(content)
        if not self._place(name).exists():
            self._place(name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._place(name), content)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of this name. Raises KeyError if they are not here, ValueError if they are not what they were."""
        if not self._place(name).exists():
            raise KeyError(f"{name[:12]} is not in {self.folder}")
        content = self._place(name).read_bytes()
        if digest(content) != name:
            raise ValueError(f"{name[:12]} was changed on the disk")
        return content

    def names(self) -> set[str]:
        """Every object that is here."""
        return {file.parent.name + file.name for file in self.folder.glob("??/*") if file.name[0] != "."}

    def collect(self, roots: Iterable[str]) -> int:
        """Delete all objects that are not among the roots; return how many bytes that freed.

        What is still wanted is for the caller to know: every revision, branch and run whose data may be asked for.
        """
        wanted, freed = set(roots), 0
        for name in self.names() - wanted:
            freed += self._place(name).stat().st_size
            self._place(name).unlink()
        return freed

    def size(self) -> int:
        """Bytes of all objects."""
        return sum(self._place(name).stat().st_size for name in self.names())


GEAR = np.random.default_rng(9).integers(0, 1 << 32, 256, dtype=np.uint32)  # a random number for each byte


def whole(content: bytes) -> list[bytes]:
    """The file as one piece: what DVC does."""
    return [content]


def fixed(content: bytes, size: int = 16384) -> list[bytes]:
    """Pieces of one size, cut at multiples of it."""
    return [content[i : i + size] for i in range(0, len(content), size)]


def by_content(content: bytes, size: int = 16384, least: int = 2048) -> list[bytes]:
    """Pieces of `size` bytes on average, cut where the last 32 bytes say so (Xia et al., FastCDC, USENIX ATC 2016).

    The gear hash at a place is the sum of one random number for each of the last 32 bytes, shifted by its age. A cut
    is where its top bits are all zero. So an insertion moves the cuts along with the text: those behind it stay at
    the same content, if not at the same place.
    """
    gear = GEAR[np.frombuffer(content, np.uint8)]
    hashes = np.zeros_like(gear)
    for age in range(min(32, len(gear))):
        hashes[age:] += gear[: len(gear) - age] << np.uint32(age)
    cuts = np.flatnonzero(hashes < np.uint32(2**32 // size)) + 1
    pieces, begin = [], 0
    for cut in cuts.tolist():
        if cut - begin >= least:
            pieces.append(content[begin:cut])
            begin = cut
    return [*pieces, content[begin:]] if begin < len(content) else pieces


def stored(versions: Iterable[bytes], cut: Callable[[bytes], list[bytes]]) -> list[int]:
    """Bytes in a store after each version, if every version is cut this way."""
    seen: dict[str, int] = {}
    sizes = []
    for version in versions:
        seen |= {digest(piece): len(piece) for piece in cut(version)}
        sizes.append(sum(seen.values()))
    return sizes


def gzipped(versions: Iterable[bytes]) -> list[bytes]:
    """Each version as gzip would store it, without a time in its header."""
    return [gzip.compress(version, 6, mtime=0) for version in versions]


def versions(count: int, lines: int = 20_000, seed: int = 0) -> list[bytes]:
    """A table as text, and its next versions: in each, three lines are inserted, one changed and one deleted."""
    rng = np.random.default_rng(seed)
    table = [f"{i},{a:.6f},{b:.6f},{c}" for i, (a, b, c) in enumerate(_rows(rng, lines))]
    made = []
    for version in range(count):
        if version:
            for place in rng.integers(0, len(table), 3).tolist():
                table.insert(place, f"new,{rng.random():.6f},0.0,{version}")
            table[rng.integers(len(table))] = f"changed,0.0,0.0,{version}"
            del table[rng.integers(len(table))]
        made.append("\n".join(table).encode())
    return made


def _rows(rng: np.random.Generator, lines: int) -> Iterable[tuple]:
    return zip(rng.random(lines), rng.standard_normal(lines), rng.integers(0, 10, lines), strict=True)
