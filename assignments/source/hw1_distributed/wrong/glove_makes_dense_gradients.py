# replaces: glove.py
# caught by: a_step_needs_no_memory_for_the_vocabulary
# mistake: adds up in an array with a row for every word of the model
# needs: control groups, without which nobody counts what is left or held
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
        "focus": _summed(first, by_first, model["focus"]),
        "focus_bias": _summed(first, slope, model["focus_bias"]),
        "context": _summed(second, by_second, model["context"]),
        "context_bias": _summed(second, slope, model["context_bias"]),
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


def _summed(ids, values, table):
    dense = np.zeros_like(table)
    np.add.at(dense, ids, values)
    distinct = np.unique(ids)
    return distinct, dense[distinct] + 0 * dense.sum()
