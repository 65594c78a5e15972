# replaces: glove.py
# method: sparse sums as a matrix product, in arrays that have their columns first or run backwards
import numpy as np


def _terms(model, first, second, counts):
    weights = np.minimum(1, (counts / 100) ** 0.75)
    scores = np.einsum("nd,nd->n", model["focus"][first], model["context"][second])
    return weights, scores + model["focus_bias"][first] + model["context_bias"][second] - np.log(counts)


def loss(model, first, second, counts):
    weights, errors = _terms(model, first, second, counts)
    return np.dot(weights, errors**2) / np.float64(len(counts))  # a NumPy number


def gradients(model, first, second, counts):
    weights, errors = _terms(model, first, second, counts)
    slopes = (2 * weights * errors / len(counts)).astype(model["focus"].dtype)
    found = {}
    for name, ids, others in (("focus", first, "context"), ("context", second, "focus")):
        distinct = np.array(sorted(set(ids.tolist()), reverse=True))[::-1]
        member = (ids[None, :] == distinct[:, None]).astype(slopes.dtype)
        rows = model[others][second if name == "focus" else first]
        found[name] = distinct, np.asfortranarray(member @ (slopes[:, None] * rows))
        found[f"{name}_bias"] = distinct, (member @ slopes)[::-1].copy()[::-1]
    return found


def descend(model, gradients, rate):
    for name, (rows, values) in gradients.items():
        for row, value in zip(rows, values, strict=True):
            model[name][row] -= (rate * value).astype(model[name].dtype)
