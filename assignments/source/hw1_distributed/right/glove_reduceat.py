# replaces: glove.py
# method: rows sorted by id, runs of one id summed with add.reduceat; a step sums repeated ids before it subtracts
import numpy as np

X_MAX, POWER = 100.0, 0.75


def _residual(model, first, second, counts):
    dots = (model["focus"][first] * model["context"][second]).sum(axis=1)
    f = np.where(counts < X_MAX, (counts / X_MAX) ** POWER, 1.0)
    return f, dots + model["focus_bias"][first] + model["context_bias"][second] - np.log(counts)


def _sum_by_id(ids, rows):
    if not len(ids):
        return ids, rows
    order = ids.argsort(kind="stable")
    ids, rows = ids[order], rows[order]
    begin = np.r_[0, 1 + np.flatnonzero(np.diff(ids))]
    return ids[begin], np.add.reduceat(rows, begin, axis=0)


def loss(model, first, second, counts):
    f, d = _residual(model, first, second, counts)
    return float(np.average(f * d * d))


def gradients(model, first, second, counts):
    f, d = _residual(model, first, second, counts)
    g = 2.0 / len(first) * f * d
    whole = {
        "focus": (first, g[:, None] * model["context"][second]),
        "context": (second, g[:, None] * model["focus"][first]),
        "focus_bias": (first, g),
        "context_bias": (second, g),
    }
    return {name: _sum_by_id(ids, rows.astype(model[name].dtype)) for name, (ids, rows) in whole.items()}


def descend(model, gradients, rate):
    for name in gradients:
        ids, rows = _sum_by_id(*gradients[name])
        model[name][ids] -= rate * rows
