"""From logits to a token. All randomness comes from (seed, position): the n-th token's number is always the same.

A generator that is shared by the batch would give a request other numbers whenever another request comes. Here the
number belongs to the request and the position, so that a completion can be repeated, resumed, and drafted.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Sampling:
    """How a request's tokens are drawn. Temperature 0 is greedy; top_k=0 and top_p=1 leave all tokens in."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"temperature and top_k are not negative, and 0 < top_p <= 1; not {self}")


def probabilities(logits: torch.Tensor, sampling: Sampling) -> np.ndarray:
    """Probabilities of all tokens after temperature, top-k and top-p (nucleus; Holtzman et al. 2020), float64.

    `logits` is (vocabulary,). top-p keeps the fewest most likely tokens whose sum reaches top_p.
    """
    scores = logits.double().numpy() / sampling.temperature
    weights = np.exp(scores - scores.max())
    # Equal logits stand in the order of their tokens: a tie is broken the same way every time.
    order = np.argsort(-weights, kind="stable")
    if sampling.top_k:
        weights[order[sampling.top_k :]] = 0
    weights /= weights.sum()
    if sampling.top_p < 1:
        reached = np.cumsum(weights[order]) - weights[order]
        weights[order[reached >= sampling.top_p]] = 0
        weights /= weights.sum()
    return weights


def uniform(seed: int, position: int) -> float:
    """The number in [0, 1) of this seed and position, from a counter-based generator (Salmon et al. 2011)."""
    return float(np.random.Generator(np.random.Philox(key=seed, counter=position)).random())


def draw(logits: torch.Tensor, sampling: Sampling, position: int) -> int:
    """The token at this position, from logits (vocabulary,)."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    sums = np.cumsum(probabilities(logits, sampling))
    return int(np.searchsorted(sums, uniform(sampling.seed, position) * sums[-1], side="right"))
