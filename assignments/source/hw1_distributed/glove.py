"""GloVe: loss, gradients by hand, and a step of gradient descent, in numpy.

A model is a dictionary of arrays of one floating-point type: `focus` and `context` [words, dim], `focus_bias` and
`context_bias` [words]. A batch is three arrays of length n: word ids `first` and `second` (int64) and their counts.
"""

import numpy as np

X_MAX, POWER = 100.0, 0.75  # of the paper: Pennington, Socher & Manning, EMNLP 2014


def loss(model: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    """Return the mean over the batch of f(x) (w . c + b + d - log x)^2, with f(x) = min(1, (x / X_MAX)^POWER).

    w and b are row and bias of the first word in `focus` and `focus_bias`, c and d those of the second word in
    `context` and `context_bias`, x is the count.
    """
    ### BEGIN SOLUTION
    return float(np.mean(_weights(counts) * _errors(model, first, second, counts) ** 2))
    ### END SOLUTION


def gradients(
    model: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the gradient of `loss` with respect to each array of the model, where it is not zero by necessity.

    For each name: the distinct word ids u of the batch, int64 [k], ascending (of `first` for `focus` and
    `focus_bias`, of `second` for the other two), and their gradients, [k, dim] or [k], of the model's dtype. Time and
    memory do not grow with the number of words in the model, which stays as it is.
    """
    ### BEGIN SOLUTION
    slope = 2 * _weights(counts) * _errors(model, first, second, counts) / len(counts)
    slope = slope.astype(model["focus"].dtype)
    by_first = slope[:, None] * model["context"][second]
    by_second = slope[:, None] * model["focus"][first]
    return {
        "focus": _summed(first, by_first),
        "focus_bias": _summed(first, slope),
        "context": _summed(second, by_second),
        "context_bias": _summed(second, slope),
    }
    ### END SOLUTION


def descend(
    model: dict[str, np.ndarray], gradients: dict[str, tuple[np.ndarray, np.ndarray]], rate: float
) -> None:
    """Subtract `rate` times the gradients from the model, in place.

    `gradients` is as the function of that name returns it, or several of those put one behind the other: then
    an id occurs more than once, and all its rows count.
    """
    ### BEGIN SOLUTION
    for name, (rows, values) in gradients.items():
        np.subtract.at(model[name], rows, rate * values)
    ### END SOLUTION


### BEGIN SOLUTION
def _weights(counts: np.ndarray) -> np.ndarray:
    return np.minimum(1, (counts / X_MAX) ** POWER)


def _errors(
    model: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    products = (model["focus"][first] * model["context"][second]).sum(1)
    return products + model["focus_bias"][first] + model["context_bias"][second] - np.log(counts)


def _summed(ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, position = np.unique(ids, return_inverse=True)
    total = np.zeros((len(distinct), *values.shape[1:]), dtype=values.dtype)
    np.add.at(total, position, values)
    return distinct, total


### END SOLUTION
