"""What `effdl.launch` and its ranks share: the job, the run's log, values as files, and what comes back."""

import os
import pickle
import struct
import types
from dataclasses import dataclass, field
from pathlib import Path

import torch

LAUNCHER = str(Path(__file__).with_name("launch"))  # how the names of the launcher's own files begin
OUTPUT_LIMIT = 10_000_000  # bytes kept of one stream of one rank: a loop that prints must not fill the disk

# One record of a run's log: rank, kind, length of the text that follows.
HEADER = struct.Struct("=HBI")
STARTED, STDOUT, STDERR, RAISED, RETURNED = range(5)
STREAMS = {"stdout": STDOUT, "stderr": STDERR}


class LaunchError(RuntimeError):
    """A run that did not end well. The message begins with the rank that failed first, and why.

    Attributes:
        rank: the rank that failed first, or None where no single rank did (deadline, refused call).
        traceback: that rank's traceback as text, or "".
        output: everything the ranks printed, as an `Output`.
    """

    def __init__(self, message: str, rank: int | None = None, traceback: str = "", output=None):
        super().__init__(message)
        self.rank = rank
        self.traceback = traceback
        self.output = output if output is not None else Output()

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the rank's failure alone, without the frames of the launcher."""
        return [f"LaunchError: {self}"]


@dataclass
class Output:
    """What the ranks printed: (rank, "stdout" or "stderr", text) in the order in which it was written.

    Python's own streams are recorded line by line. What C libraries and child processes write to the file
    descriptors is kept as well, but its moment is not known: it stands at the end.
    """

    records: list[tuple[int, str, str]] = field(default_factory=list)

    def text(self, rank: int | None = None, stream: str | None = None) -> str:
        """The text as written, of one rank or of all, of one stream ("stdout", "stderr") or of both."""
        return "".join(t for r, s, t in self.records if rank in (None, r) and stream in (None, s))

    def __str__(self) -> str:
        return "\n".join(f"[rank {r}] {line}" for r, _, text in self.records for line in text.splitlines())


class Results(list):
    """What each rank returned, by rank, and `output`, what the ranks printed."""

    def __init__(self, values, output: Output):
        super().__init__(values)
        self.output = output


@dataclass
class Job:
    """What every rank must know, apart from its rank. Files: arguments, log, and per rank result, fd1, fd2."""

    folder: Path
    target: str
    ranks: int
    backend: str | None
    threads: int


def record(log: int, rank: int, kind: int, text: bytes = b"") -> None:
    """Append a record to the log; the kernel makes that atomic."""
    os.write(log, HEADER.pack(rank, kind, len(text)) + text)


class _Pickler(pickle.Pickler):
    """Pickle for other processes: refuses what only this one knows, and sends a tensor's own elements only."""

    def reducer_override(self, value):
        if isinstance(value, type | types.FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in the notebook or script itself")
        if type(value) is torch.Tensor and value.layout is torch.strided:
            # Pickle would write the whole storage, of which a view may be a small part.
            whole = value.device.type == "cpu" and value.untyped_storage().nbytes() == value.nbytes
            return (value if whole else value.detach().cpu().clone()).__reduce_ex__(5)
        return NotImplemented


def dump(value, path: Path, what: str) -> None:
    """Write a value to a file; `what` names it in the TypeError of one that other processes cannot read."""
    try:
        with open(path, "wb") as file:
            _Pickler(file, protocol=5).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(
            f"{what} cannot go to another process ({error}): use numbers, strings, lists, dicts and tensors"
        ) from None


def load(path: Path):
    """The value of a file that `dump` wrote."""
    with open(path, "rb") as file:
        return pickle.load(file)
