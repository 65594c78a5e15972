"""What a reader of documentation expects of the neighbours of a word, and a map of words. The lists are ours."""

from collections.abc import Mapping

import numpy as np

from week02_distributed import glove

EXPECTED = {
    "red": {"blue", "green"},
    "row": {"column", "columns", "rows"},
    "mean": {"median", "variance", "std"},
    "file": {"filename", "files", "path"},
    "greater": {"less", "larger", "smaller"},
    "random": {"seed", "randomstate", "generator"},
    "matrix": {"sparse", "matrices", "square"},
    "probability": {"density", "distribution", "mass"},
}
"""Words, and those of which at least one should be near. Written down before any training."""

GROUPS = {
    "colours": "red blue green black white yellow",
    "matrices": "matrix matrices sparse dense square diagonal",
    "statistics": "mean variance median std deviation average",
    "files": "file path directory filename folder disk",
    "order": "greater less smaller larger equal lower",
}
"""Words that belong together, for the map."""


def expected_found(unit: np.ndarray, words: dict[str, int], count: int = 10) -> int:
    """How many words of `EXPECTED` have an expected one among their `count` nearest neighbours.

    Args:
        unit: a unit vector per word, shape (len(words), dim).

    A word outside the vocabulary counts as not found.
    """
    return sum(
        bool(expected & set(glove.neighbours(unit, words, word, count)))
        for word, expected in EXPECTED.items()
        if word in words
    )


def plane(unit: np.ndarray, words: Mapping[str, int]) -> dict[str, dict[str, np.ndarray]]:
    """The words of `GROUPS` in the two directions in which they differ most (principal components).

    Returns:
        {group: {word: array of shape (2,)}}; words outside the vocabulary are left out.
    """
    groups = {name: [word for word in text.split() if word in words] for name, text in GROUPS.items()}
    chosen = np.array([unit[words[word]] for group in groups.values() for word in group])
    axes = np.linalg.svd(chosen - chosen.mean(0), full_matrices=False)[2][:2]
    return {name: {word: axes @ unit[words[word]] for word in group} for name, group in groups.items()}
