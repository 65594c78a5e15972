"""GloVe: loss, gradients and one step, in numpy. Pennington, Socher & Manning, EMNLP 2014.

A word has two rows, one in the table `focus` and one in the table `context`. Each row holds `dim` coordinates and,
in its last column, the bias of the word. The model of a count is

    log x_ij  ~  focus_i . context_j + bias_i + bias_j
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

X_MAX, POWER = 100.0, 0.75  # of the paper


def weights(counts: np.ndarray) -> np.ndarray:
    """min(1, (x / 100) ** 0.75) per pair: rare pairs are noise, frequent ones must not rule the sum."""
    return np.minimum(1, (counts / X_MAX) ** POWER)


def errors(focus: np.ndarray, context: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Predicted minus true log count of each pair.

    Args:
        focus, context: rows of the two tables, shape (pairs, dim + 1), the bias in the last column.
        counts: shape (pairs,), all above 0.
    """
    products = np.einsum("pd,pd->p", focus[:, :-1], context[:, :-1])
    return products + focus[:, -1] + context[:, -1] - np.log(counts)


def loss(focus: np.ndarray, context: np.ndarray, counts: np.ndarray) -> float:
    """Mean over the pairs of weight times squared error; shapes as in `errors`."""
    return float(np.mean(weights(counts) * errors(focus, context, counts) ** 2))


def gradients(focus: np.ndarray, context: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient of the *sum* of weighted squared errors with respect to each pair's two rows; shapes as in `errors`.

    A word that occurs in several pairs gets several rows of gradient. Whoever applies them must add them up.
    """
    slope = (2 * weights(counts) * errors(focus, context, counts))[:, None]
    by_focus, by_context = slope * context, slope * focus
    by_focus[:, -1:] = by_context[:, -1:] = slope
    return by_focus, by_context


def finite_differences(focus: np.ndarray, context: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The gradient of `gradients` with respect to the rows of `focus`, from differences of losses.

    Each coordinate is shifted up and down by 1e-6. The loss is a mean and the gradient that of the sum, hence the
    factor.
    """
    found = np.zeros_like(focus)
    for index in np.ndindex(focus.shape):
        shift = np.zeros_like(focus)
        shift[index] = 1e-6
        up, down = loss(focus + shift, context, counts), loss(focus - shift, context, counts)
        found[index] = len(counts) * (up - down) / 2e-6
    return found


def sum_rows(indices: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct indices, and for each the sum of its rows.

    The sum is a product with a sparse matrix of ones, some three times faster here than `np.add.at`.
    """
    distinct, position = np.unique(indices, return_inverse=True)
    pairs = len(indices)
    ones = np.ones(pairs, dtype=rows.dtype)
    membership = sparse.csc_array((ones, position, np.arange(pairs + 1)), shape=(len(distinct), pairs))
    return distinct, membership @ rows


def new_table(words: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of float32 noise in (-0.5, 0.5) / dim, as the reference implementation draws them."""
    return ((rng.random((words, dim + 1)) - 0.5) / dim).astype(np.float32)


def adagrad(
    table: np.ndarray, squares: np.ndarray, indices: np.ndarray, rows: np.ndarray, rate: float
) -> None:
    """One AdaGrad step, in place, on those rows of `table` that `indices` names; repeated indices add up.

    `squares`, of the table's shape, keeps the sum of squared gradients (Duchi, Hazan & Singer, JMLR 2011).
    """
    distinct, gradient = sum_rows(indices, rows)
    total = squares[distinct] + gradient**2
    squares[distinct] = total
    # Not squares[distinct] again: another process may have written there, without this gradient, and the step would
    # no longer be at most `rate`.
    table[distinct] -= rate * gradient / np.sqrt(total)


def step(
    tables: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray, rate: float
):
    """One step on a batch of pairs, in place. `tables` holds focus, context and the squares of both."""
    rows = tables["focus"][first], tables["context"][second]
    by_focus, by_context = gradients(*rows, counts)
    adagrad(tables["focus"], tables["focus_squares"], first, by_focus, rate)
    adagrad(tables["context"], tables["context_squares"], second, by_context, rate)


def new_tables(words: int, dim: int, seed: int) -> dict[str, np.ndarray]:
    """The four tables of a fresh model, float32, shape (words, dim + 1)."""
    rng = np.random.default_rng(seed)
    ones = np.ones((words, dim + 1), dtype=np.float32)
    focus, context = new_table(words, dim, rng), new_table(words, dim, rng)
    return {"focus": focus, "context": context, "focus_squares": ones, "context_squares": ones.copy()}


def pairs_of(matrix: sparse.sparray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column (int32) and count (float32) of every stored entry."""
    entries = matrix.tocoo()
    return entries.row.astype(np.int32), entries.col.astype(np.int32), entries.data.astype(np.float32)


def batches(pairs: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions of the pairs in random order, in pieces of `size`: one epoch."""
    order = rng.permutation(pairs)
    return (order[start : start + size] for start in range(0, pairs, size))


def train(
    pairs: tuple, tables: dict[str, np.ndarray], epochs: int, batch: int, seed: int, rate: float
) -> None:
    """Train `tables` in place, in this process alone."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for chosen in batches(len(pairs[2]), batch, rng):
            step(tables, *(column[chosen] for column in pairs), rate)


def full_loss(tables: dict[str, np.ndarray], pairs: tuple) -> float:
    """`loss` of pairs (first, second, counts) under the whole model."""
    first, second, counts = pairs
    return loss(tables["focus"][first], tables["context"][second], counts)


def vectors(tables: dict[str, np.ndarray]) -> np.ndarray:
    """One unit vector per word: focus plus context without biases, as the paper advises, shape (words, dim)."""
    both = (tables["focus"] + tables["context"])[:, :-1]
    return both / np.linalg.norm(both, axis=1, keepdims=True)


def neighbours(unit: np.ndarray, words: dict[str, int], word: str, count: int = 6) -> list[str]:
    """The words with the largest cosine to `word`, best first.

    Raises ValueError for a word that is not in the vocabulary.
    """
    if word not in words:
        raise ValueError(
            f'"{word}" is not among the {len(words):,} words of this vocabulary: choose another one'
        )
    order = np.argsort(-unit @ unit[words[word]])
    names = list(words)
    return [names[index] for index in order if index != words[word]][:count]
