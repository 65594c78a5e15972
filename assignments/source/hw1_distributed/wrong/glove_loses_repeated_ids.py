# replaces: glove.py
# caught by: gradients_equal_autograd
# mistake: of a word that occurs in several pairs, only the last counts
import numpy as np

X_MAX, POWER = (100.0, 0.75)


def loss(model: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> float:
    return float(np.mean(_weights(counts) * _errors(model, first, second, counts) ** 2))


def gradients(
    model: dict[str, np.ndarray], first: np.ndarray, second: np.ndarray, counts: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
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


def descend(
    model: dict[str, np.ndarray], gradients: dict[str, tuple[np.ndarray, np.ndarray]], rate: float
) -> None:
    for name, (rows, values) in gradients.items():
        np.subtract.at(model[name], rows, rate * values)


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
    total[position] += values
    return (distinct, total)
