# replaces: glove.py
# method: a small matrix of zeros and ones says which pair names which word; its product sums rows
import numpy as np

X_MAX, POWER = 100.0, 0.75


def _f(x):
    return np.minimum(1, (x / X_MAX) ** POWER)


def _error(model, i, j, x):
    w, c = model["focus"][i], model["context"][j]
    return np.einsum("nd,nd->n", w, c) + model["focus_bias"][i] + model["context_bias"][j] - np.log(x)


def loss(model, first, second, counts):
    return (_f(counts) * _error(model, first, second, counts) ** 2).mean()


def gradients(model, first, second, counts):
    dtype = model["focus"].dtype
    delta = (2 * _f(counts) * _error(model, first, second, counts) / first.size).astype(dtype)
    out = {}
    for mine, other, table, bias, partner in (
        (first, second, "focus", "focus_bias", "context"),
        (second, first, "context", "context_bias", "focus"),
    ):
        ids = np.array(sorted(set(mine.tolist())), dtype=np.int64)
        weighted = (ids[:, None] == mine[None, :]) * delta  # [k, n]
        out[table] = ids, weighted @ model[partner][other]
        out[bias] = ids, weighted.sum(axis=1)
    return out


def descend(model, gradients, rate):
    for name, (ids, rows) in gradients.items():
        # all first occurrences, then all second ones, and so on: no id repeats within one assignment
        while len(ids):
            _, once = np.unique(ids, return_index=True)
            model[name][ids[once]] -= rate * rows[once]
            ids, rows = np.delete(ids, once), np.delete(rows, once, axis=0)
