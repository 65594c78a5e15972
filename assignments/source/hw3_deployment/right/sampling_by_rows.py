# replaces: sampling.py
# method: Python lists, one row after the other, and one uniform number for each
import math
from functools import lru_cache

import torch


@lru_cache(maxsize=4096)
def candidates(row, temperature, top_k, top_p):
    largest = max(row)
    weights = [(math.exp((logit - largest) / temperature), word) for word, logit in enumerate(row)]
    weights.sort(key=lambda pair: -pair[0])
    weights = weights[:top_k]
    total = sum(weight for weight, _ in weights)
    kept, reached = [], 0.0
    for weight, word in weights:
        if top_p is not None and kept and reached >= top_p:
            break
        kept.append((weight, word))
        reached += weight / total
    return kept, sum(weight for weight, _ in kept)


def sample(logits, temperature=1.0, top_k=None, top_p=None, generator=None):
    rows = [tuple(row) for row in logits.tolist()]
    if temperature == 0:
        return torch.tensor([row.index(max(row)) for row in rows])
    drawn = []
    for row, place in zip(rows, torch.rand(len(rows), generator=generator).tolist(), strict=True):
        kept, total = candidates(row, temperature, top_k, top_p)
        place *= total
        chosen = next((word for weight, word in kept if (place := place - weight) < 0), kept[-1][1])
        drawn.append(chosen)
    return torch.tensor(drawn)
