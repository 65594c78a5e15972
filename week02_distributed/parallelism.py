"""One network with two layers, cut three ways: by examples, by layers, inside the layers.

Every function computes the gradients of the same loss, on `workers` workers that this one process plays in turn, and
counts the bytes that would cross between workers in one step.
"""

from collections.abc import Sequence

import numpy as np

Gradients = tuple[np.ndarray, np.ndarray]


def gradients(x: np.ndarray, y: np.ndarray, first: np.ndarray, second: np.ndarray) -> Gradients:
    """Gradients of sum((relu(x @ first) @ second - y)^2) / 2 with respect to both weights: one worker, no cut.

    Shapes: x (batch, inputs), first (inputs, hidden), second (hidden, outputs), y (batch, outputs).
    """
    hidden = np.maximum(x @ first, 0)
    slope = hidden @ second - y
    return x.T @ (slope @ second.T * (hidden > 0)), hidden.T @ slope


def data_parallel(x, y, first, second, workers: int) -> tuple[Gradients, int]:
    """Each worker has all weights and a part of the batch; the gradients are summed over the workers.

    The sum is an all-reduce, which moves at least 2 (n - 1) / n of the gradients per worker (week 3).
    """
    parts = [
        gradients(some_x, some_y, first, second)
        for some_x, some_y in zip(np.array_split(x, workers), np.array_split(y, workers), strict=True)
    ]
    total = sum(part[0] for part in parts), sum(part[1] for part in parts)
    return total, 2 * (workers - 1) * (first.nbytes + second.nbytes)


def model_parallel(x, y, first, second) -> tuple[Gradients, int]:
    """Worker 0 has the first layer, worker 1 the second. Activations go forward, their gradients come back."""
    hidden = np.maximum(x @ first, 0)  # worker 0, which sends them to worker 1
    slope = hidden @ second - y  # worker 1
    back = slope @ second.T  # worker 1, which sends it to worker 0
    return (x.T @ (back * (hidden > 0)), hidden.T @ slope), hidden.nbytes + back.nbytes


def operator_parallel(x, y, first, second, workers: int) -> tuple[Gradients, int]:
    """Each worker has some columns of the first weight and the same rows of the second, and sees the whole batch.

    The outputs are sums over the workers: one all-reduce of shape (batch, outputs).
    """
    columns = np.array_split(np.arange(first.shape[1]), workers)
    hidden = [np.maximum(x @ first[:, part], 0) for part in columns]
    outputs = sum(h @ second[part] for h, part in zip(hidden, columns, strict=True))  # the all-reduce
    slope = outputs - y
    by_first = [x.T @ (slope @ second[part].T * (h > 0)) for h, part in zip(hidden, columns, strict=True)]
    by_second = [h.T @ slope for h in hidden]
    return (np.hstack(by_first), np.vstack(by_second)), 2 * (workers - 1) * outputs.nbytes


def three_cuts(batch: int, width: int) -> tuple[Gradients, dict[str, tuple[Gradients, int]]]:
    """Two square layers of `width` on random data: the gradients of one worker, and {cut: (gradients, bytes)}.

    All three cuts are made for two workers. Float64.
    """
    rng = np.random.default_rng(0)
    shapes = (batch, width), (batch, width), (width, width), (width, width)
    args = [rng.normal(size=shape) for shape in shapes]
    cuts = {
        "data": data_parallel(*args, 2),
        "model": model_parallel(*args),
        "operator": operator_parallel(*args, 2),
    }
    return gradients(*args), cuts


def volumes(batches: Sequence[int], width: int) -> dict[str, list[int]]:
    """Bytes that cross between two workers in one step, by cut, for each batch size."""
    found = [three_cuts(batch, width)[1] for batch in batches]
    return {name: [cuts[name][1] for cuts in found] for name in found[0]}


def largest_difference(batch: int, width: int) -> float:
    """Largest difference of any cut's gradients from those of one worker, in units of the largest gradient."""
    whole, cuts = three_cuts(batch, width)
    return max(
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for found, _ in cuts.values()
        for mine, theirs in zip(found, whole, strict=True)
    )
