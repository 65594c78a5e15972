# replaces: glove.py
# method: plain loops over the pairs and dictionaries of rows
import math

import numpy as np

X_MAX, POWER = 100.0, 0.75


def _parts(model, i, j, x):
    weight = min(1.0, (x / X_MAX) ** POWER)
    product = float(np.dot(model["focus"][i], model["context"][j]))
    return weight, product + float(model["focus_bias"][i]) + float(model["context_bias"][j]) - math.log(x)


def loss(model, first, second, counts):
    total = 0.0
    for i, j, x in zip(first, second, counts, strict=True):
        weight, difference = _parts(model, i, j, x)
        total += weight * difference**2
    return total / len(first)


def gradients(model, first, second, counts):
    found = {name: {} for name in model}
    n = len(first)
    for i, j, x in zip(first.tolist(), second.tolist(), counts, strict=True):
        weight, difference = _parts(model, i, j, x)
        g = 2 * weight * difference / n
        for name, word, change in [
            ("focus", i, g * model["context"][j]),
            ("context", j, g * model["focus"][i]),
            ("focus_bias", i, g),
            ("context_bias", j, g),
        ]:
            found[name][word] = found[name].get(word, 0) + change
    result = {}
    for name, rows in found.items():
        ids = sorted(rows)
        result[name] = (
            np.array(ids, dtype=np.int64),
            np.array([rows[k] for k in ids], dtype=model[name].dtype),
        )
    return result


def descend(model, gradients, rate):
    for name, (ids, rows) in gradients.items():
        for k, row in zip(ids, rows, strict=True):
            model[name][k] -= rate * row
