"""Our GloVe beside the reference implementation in C, on the same co-occurrence matrix.

The reference (Pennington, Socher & Manning; Apache licence) is not part of this repository. Clone
https://github.com/stanfordnlp/GloVe, run `make` in it, and say where the program is:

    EFFDL_GLOVE=.../GloVe/build/glove python -m effdl.run week02_distributed/seminar.md

It trains with threads, HOGWILD! as well, one pair at a time, in double precision.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from week02_distributed import glove, hogwild

RECORD = np.dtype([("first", "<i4"), ("second", "<i4"), ("count", "<f8")])  # words count from 1


def program() -> Path | None:
    """The reference program that the environment variable EFFDL_GLOVE names; None if it is not set.

    Raises FileNotFoundError if there is nothing at that path.
    """
    named = os.environ.get("EFFDL_GLOVE")
    if named and not Path(named).is_file():
        raise FileNotFoundError(f"EFFDL_GLOVE={named}: no such file; build the reference program or unset it")
    return Path(named) if named else None


def train(
    binary: Path, pairs: tuple, words: dict[str, int], dim: int, threads: int, epochs: int, rate: float
) -> tuple[dict[str, np.ndarray], float]:
    """Train with the reference program. Returns its tables, as `glove` lays them out, and its seconds.

    The seconds include its start and the writing of the result, a small part of the run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "pairs.bin", pairs)
        (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in words))
        options = {"input-file": "pairs.bin", "vocab-file": "vocab.txt", "save-file": "vectors"}
        options |= {
            "vector-size": dim,
            "threads": threads,
            "iter": epochs,
            "eta": rate,
            "binary": 1,
            "verbose": 0,
        }
        command = [str(binary.resolve())]
        command += [text for key, value in options.items() for text in (f"-{key}", str(value))]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
        seconds = time.perf_counter() - start
        return read_tables(folder / "vectors.bin", len(words), dim), seconds


def compare(
    binary: Path, pairs: tuple, words: dict[str, int], dim: int, epochs: int, batch: int, rate: float
) -> tuple[float, float]:
    """The reference with two threads over ours with two processes: pairs per second, and loss after equal passes."""
    theirs, seconds = train(binary, pairs, words, dim, threads=2, epochs=epochs, rate=0.2)
    ours = hogwild.train(pairs, len(words), dim, 2, epochs, batch, rate)
    return ours.seconds / seconds, glove.full_loss(theirs, pairs) / glove.full_loss(ours.tables, pairs)


def write_pairs(path: Path, pairs: tuple) -> None:
    """Write (first, second, counts) as the reference's co-occurrence file, in random order."""
    order = np.random.default_rng(0).permutation(len(pairs[2]))
    records = np.zeros(len(order), RECORD)
    for field, column, shift in zip(RECORD.names, pairs, (1, 1, 0), strict=True):
        records[field] = column[order] + shift
    records.tofile(path)


def read_tables(path: Path, words: int, dim: int) -> dict[str, np.ndarray]:
    """The reference's binary result: all focus rows, then all context rows, each with its bias at the end."""
    both = np.fromfile(path, dtype="<f8").reshape(2, words, dim + 1)
    return {"focus": both[0], "context": both[1]}
