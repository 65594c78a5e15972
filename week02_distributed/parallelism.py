"""One network with two layers, cut three ways over two real processes: by examples, by layers, inside the layers.

Every cut computes the same gradients: those of both weights, and that of the input, for the layers below.
The kernel counts the bytes that each process writes to the other.
"""

from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection

import numpy as np
import psutil

from week02_distributed.processes import CONTEXT, Group

Gradients = list[np.ndarray]
"""Of the first weight, of the second weight, of the input."""


class Peer:
    """The other worker, at the other end of a pipe; arrays go as they are."""

    def __init__(self, rank: int, pipe: Connection):
        self.rank, self.pipe, self._sent = rank, pipe, 0

    def send(self, array: np.ndarray) -> None:
        """Write all bytes of an array."""
        self.pipe.send_bytes(np.ascontiguousarray(array).data.cast("B"))
        self._sent += array.nbytes

    def recv(self, like: np.ndarray) -> np.ndarray:
        """Read an array of the shape and type of `like`."""
        return np.frombuffer(self.pipe.recv_bytes(), like.dtype).reshape(like.shape)

    def sum(self, mine: np.ndarray) -> np.ndarray:
        """All-reduce of two workers: each gets the sum. Rank 0 writes first, so that they do not deadlock."""
        if self.rank == 0:
            self.send(mine)
            return mine + self.recv(mine)
        theirs = self.recv(mine)
        self.send(mine)
        return mine + theirs

    def written(self) -> int:
        """Bytes that this process has written so far, by the kernel's count; by ours where the kernel keeps none."""
        try:
            return psutil.Process().io_counters().write_chars
        except (AttributeError, psutil.Error):
            return self._sent


def gradients(x: np.ndarray, y: np.ndarray, first: np.ndarray, second: np.ndarray) -> Gradients:
    """Gradients of sum((relu(x @ first) @ second - y)^2) / 2: one worker, no cut.

    Shapes: x (batch, inputs), first (inputs, hidden), second (hidden, outputs), y (batch, outputs).
    """
    hidden = np.maximum(x @ first, 0)
    slope = hidden @ second - y
    back = slope @ second.T * (hidden > 0)
    return [x.T @ back, hidden.T @ slope, back @ first.T]


def data_cut(peer: Peer, x, y, first, second) -> Gradients:
    """Each worker has all weights and half of the batch. The gradients of the weights are summed."""
    mine = np.array_split(np.arange(len(x)), 2)[peer.rank]
    by_first, by_second, by_x = gradients(x[mine], y[mine], first, second)
    return [peer.sum(by_first), peer.sum(by_second), by_x]


def model_cut(peer: Peer, x, y, first, second) -> Gradients:
    """Worker 0 has the first layer, worker 1 the second. Activations go forward, their gradients come back."""
    hidden = np.maximum(x @ first, 0) if peer.rank == 0 else np.empty((len(x), len(second)))
    if peer.rank == 0:
        peer.send(hidden)
        back = peer.recv(hidden) * (hidden > 0)
        return [x.T @ back, back @ first.T]
    hidden = peer.recv(hidden)
    slope = hidden @ second - y
    peer.send(slope @ second.T)
    return [hidden.T @ slope]


def operator_cut(peer: Peer, x, y, first, second) -> Gradients:
    """Each worker has half of the columns of the first weight and the same rows of the second, and the whole batch.

    Two all-reduces: of the outputs forward, and of the gradient of the input backward.
    """
    mine = np.array_split(np.arange(first.shape[1]), 2)[peer.rank]
    hidden = np.maximum(x @ first[:, mine], 0)
    slope = peer.sum(hidden @ second[mine]) - y
    back = slope @ second[mine].T * (hidden > 0)
    return [x.T @ back, hidden.T @ slope, peer.sum(back @ first[:, mine].T)]


CUTS: dict[str, Callable[..., Gradients]] = {"data": data_cut, "model": model_cut, "operator": operator_cut}


def problem(batch: int, width: int) -> list[np.ndarray]:
    """x, y and two square weights, random, float64."""
    rng = np.random.default_rng(0)
    shapes = (batch, width), (batch, width), (width, width), (width, width)
    return [rng.normal(size=shape) for shape in shapes]


def both_workers(cut: str, problems: Sequence[list[np.ndarray]]) -> list[list[tuple[Gradients, int]]]:
    """A step of this cut on two processes for each problem: for each, (gradients, bytes written) of both workers."""
    with Group() as group:
        for rank, pipe in enumerate(pipes := CONTEXT.Pipe()):
            group.start(_work, rank, pipe, cut, problems)
        for pipe in pipes:
            pipe.close()
        return [list(both) for both in zip(*group.results(), strict=True)]


def _work(rank: int, pipe: Connection, cut: str, problems: Sequence) -> list[tuple[Gradients, int]]:
    peer, found = Peer(rank, pipe), []
    for arrays in problems:
        before = peer.written()
        slopes = CUTS[cut](peer, *arrays)
        found.append((slopes, peer.written() - before))
    return found


def volumes(batches: Sequence[int], width: int) -> dict[str, list[int]]:
    """Bytes that both workers together write in one step, by cut, for each batch size."""
    problems = [problem(batch, width) for batch in batches]
    return {cut: [sum(sent for _, sent in both) for both in both_workers(cut, problems)] for cut in CUTS}


def formula(cut: str, batch: int, width: int) -> int:
    """Bytes of one step on two workers, float64, by counting: what `volumes` should measure, less a few headers."""
    numbers = {"data": 4 * width * width, "model": 2 * batch * width, "operator": 4 * batch * width}
    return 8 * numbers[cut]
