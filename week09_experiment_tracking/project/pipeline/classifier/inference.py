"""The exported network in NumPy: what is evaluated is the file that is served, without PyTorch."""

from pathlib import Path

import numpy as np

from classifier.data import scaled


class Classifier:
    """A network of `model.export`: images [n, 64] of pixels 0 to 16 to probabilities [n, 10]."""

    def __init__(self, path: Path):
        with np.load(path) as arrays:
            count = len(arrays.files) // 2
            self.layers = [(arrays[f"weight{i}"], arrays[f"bias{i}"]) for i in range(count)]

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Scores [n, 10] before the softmax."""
        x = scaled(images)
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight.T + bias, 0)
        weight, bias = self.layers[-1]
        return x @ weight.T + bias

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """[n, 10], each row sums to 1."""
        scores = self.scores(images)
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)


def features(images: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """What a monitor watches, as there are no labels: [n, 2], an image's ink (0 to 1) and the top probability."""
    return np.stack([scaled(images).mean(1), probabilities.max(1)], axis=1)
