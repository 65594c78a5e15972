"""What `table[indices] -= updates` does when an index stands twice in a batch, and what it does to training."""

import numpy as np

from effdl import bench
from week02_distributed import glove


def lossy_adagrad(
    table: np.ndarray, squares: np.ndarray, indices: np.ndarray, rows: np.ndarray, rate: float
) -> None:
    """`glove.adagrad` with the mistake: of several updates to one row, NumPy keeps the last."""
    squares[indices] += rows**2
    table[indices] -= rate * rows / np.sqrt(squares[indices])


def share_lost(indices: np.ndarray) -> float:
    """The share of a batch's updates that the mistake throws away."""
    return 1 - len(np.unique(indices)) / len(indices)


def train(pairs: tuple, words: int, dim: int, steps: int, batch: int, rate: float, lossy: bool) -> np.ndarray:
    """Loss on a sample every ten steps, with the right update or the wrong one; everything else is equal."""
    update = lossy_adagrad if lossy else glove.adagrad
    rng, tables = np.random.default_rng(0), glove.new_tables(words, dim, seed=0)
    sample = rng.integers(len(pairs[2]), size=10_000)
    history = []
    for step in range(steps):
        chosen = rng.integers(len(pairs[2]), size=batch)
        first, second, counts = (column[chosen] for column in pairs)
        by_focus, by_context = glove.gradients(tables["focus"][first], tables["context"][second], counts)
        update(tables["focus"], tables["focus_squares"], first, by_focus, rate)
        update(tables["context"], tables["context_squares"], second, by_context, rate)
        if step % 10 == 0:
            history.append(glove.full_loss(tables, tuple(column[sample] for column in pairs)))
    return np.array(history)


def race_of_sums(pairs: tuple, words: int, dim: int, batch: int) -> bench.Comparison:
    """`np.add.at` beside `glove.sum_rows` on the gradients of one batch of real pairs; values are random."""
    rng = np.random.default_rng(0)
    indices = pairs[0][rng.integers(len(pairs[0]), size=batch)]
    rows = rng.normal(size=(batch, dim + 1)).astype(np.float32)
    table = np.zeros((words, dim + 1), np.float32)
    ways = {
        "np.add.at": lambda: np.add.at(table, indices, rows),
        "sum_rows": lambda: glove.sum_rows(indices, rows),
    }
    return bench.compare(ways, pairs=15)


def rows_saved(pairs: tuple, batch: int, batches: int = 20) -> float:
    """Pairs in a batch over distinct words in it: what is saved by sending each row once. A mean over batches."""
    chosen = np.random.default_rng(0).integers(len(pairs[0]), size=(batches, batch))
    return batch / float(np.mean([len(np.unique(pairs[0][some])) for some in chosen]))
