"""Federated averaging: clients train on data that never leave them, and a server averages their models.

McMahan, Moore, Ramage, Hampson & Aguera y Arcas, *Communication-Efficient Learning of Deep Networks from
Decentralized Data*, AISTATS 2017.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits

HIDDEN = 32
Model = list[np.ndarray]
"""Weights and biases of two layers: (64, 32), (32,), (32, 10), (10,)."""


@dataclass
class Data:
    """Images, shape (n, 64), between 0 and 1, and labels, shape (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, chosen: np.ndarray) -> "Data":
        """The examples at these positions."""
        return Data(self.images[chosen], self.labels[chosen])


def digits() -> tuple[Data, Data]:
    """scikit-learn's 1,797 images of digits: 1,437 to train on, 360 to test."""
    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    everything = Data(bunch.data / 16, bunch.target)
    return everything.part(order[:1437]), everything.part(order[1437:])


def alike(data: Data, clients: int, seed: int = 0) -> list[Data]:
    """Shards that look alike: every client gets a random part."""
    order = np.random.default_rng(seed).permutation(len(data))
    return [data.part(part) for part in np.array_split(order, clients)]


def skewed(data: Data, clients: int, seed: int = 0) -> list[Data]:
    """Shards that do not: examples sorted by label and cut into two pieces per client, as the paper does.

    Most of twenty clients know one or two digits, none more than four.
    """
    pieces = np.array_split(np.argsort(data.labels, kind="stable"), 2 * clients)
    order = np.random.default_rng(seed).permutation(2 * clients)
    return [data.part(np.concatenate([pieces[a], pieces[b]])) for a, b in order.reshape(clients, 2)]


def new_model(seed: int = 0) -> Model:
    """A fresh network with one hidden layer."""
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 64**-0.5, (64, HIDDEN)), rng.normal(0, HIDDEN**-0.5, (HIDDEN, 10))
    return [first, np.zeros(HIDDEN), second, np.zeros(10)]


def accuracy(model: Model, data: Data) -> float:
    """Share of the examples that the model names rightly."""
    hidden = np.maximum(data.images @ model[0] + model[1], 0)
    return float(np.mean((hidden @ model[2] + model[3]).argmax(1) == data.labels))


def gradient(model: Model, images: np.ndarray, labels: np.ndarray) -> Model:
    """Gradient of the mean cross-entropy."""
    hidden = np.maximum(images @ model[0] + model[1], 0)
    scores = hidden @ model[2] + model[3]
    slope = np.exp(scores - scores.max(1, keepdims=True))
    slope /= slope.sum(1, keepdims=True)
    slope[np.arange(len(labels)), labels] -= 1
    slope /= len(labels)
    back = (slope @ model[2].T) * (hidden > 0)
    return [images.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)]


def client_update(model: Model, data: Data, epochs: int, batch: int | None, rate: float, seed) -> Model:
    """A client's own model after `epochs` of SGD from the server's one; `batch` None: all its data at once."""
    model, rng = [layer.copy() for layer in model], np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(data))
        for start in range(0, len(data), batch or len(data)):
            chosen = order[start : start + (batch or len(data))]
            for layer, slope in zip(
                model, gradient(model, data.images[chosen], data.labels[chosen]), strict=True
            ):
                layer -= rate * slope
    return model


def average(models: list[Model], sizes: list[int]) -> Model:
    """The mean of the models, each weighted by the number of its client's examples."""
    shares = np.array(sizes) / sum(sizes)
    return [
        sum(s * layer for s, layer in zip(shares, layers, strict=True))
        for layers in zip(*models, strict=True)
    ]


def train(
    clients: list[Data],
    test: Data,
    rounds: int,
    epochs: int,
    batch: int | None,
    rate: float,
    fraction: float = 0.5,
    seed: int = 0,
) -> np.ndarray:
    """Test accuracy after each round of federated averaging, shape (rounds,).

    In a round the server picks `fraction` of the clients. With epochs=1 and batch=None a client computes one
    gradient of all its data: that is the paper's FedSGD, distributed SGD with one step per round.
    """
    rng, model, accuracies = np.random.default_rng(seed), new_model(seed), []
    for round_ in range(rounds):
        chosen = rng.choice(len(clients), max(1, round(fraction * len(clients))), replace=False)
        models = [client_update(model, clients[c], epochs, batch, rate, [seed, round_, c]) for c in chosen]
        model = average(models, [len(clients[c]) for c in chosen])
        accuracies.append(accuracy(model, test))
    return np.array(accuracies)


def rounds_to(accuracies: np.ndarray, goal: float) -> float:
    """Rounds until the running best accuracy reaches `goal`; inf if it never does."""
    reached = np.flatnonzero(accuracies >= goal)
    return float(reached[0] + 1) if len(reached) else float("inf")


# ---------------------------------------------------------------------------------------------------------------
# The same idea in a data centre: exchange every so many steps
# ---------------------------------------------------------------------------------------------------------------


def local_sgd(
    clients: list[Data],
    rounds: int,
    steps: int,
    rate: float,
    outer: float = 1.0,
    momentum: float = 0.0,
    seed: int = 0,
) -> Model:
    """Every client takes `steps` steps of its own on batches of ten, then all exchange; `rounds` times.

    The difference between the common model and the mean of the clients' is used like a gradient: `outer` is its step
    size, `momentum` that of Nesterov. With outer=1 and no momentum the mean becomes the common model; with 0.7 and
    0.9 this is the outer loop of DiLoCo (Douillard et al., 2023), whose inner loop is AdamW.
    """
    rngs = [np.random.default_rng([seed, client]) for client in range(len(clients))]
    model, sizes = new_model(seed), [len(client) for client in clients]
    velocity = [np.zeros_like(layer) for layer in model]
    for _ in range(rounds):
        mean = average(
            [_some_steps(model, *both, steps, rate) for both in zip(clients, rngs, strict=True)], sizes
        )
        for layer, new, speed in zip(model, mean, velocity, strict=True):
            change = layer - new
            speed[...] = momentum * speed + change
            layer -= outer * (momentum * speed + change)
    return model


def _some_steps(model: Model, data: Data, rng: np.random.Generator, steps: int, rate: float) -> Model:
    model = [layer.copy() for layer in model]
    for _ in range(steps):
        chosen = rng.integers(len(data), size=10)
        for layer, slope in zip(
            model, gradient(model, data.images[chosen], data.labels[chosen]), strict=True
        ):
            layer -= rate * slope
    return model


def loss(model: Model, data: Data) -> float:
    """Mean cross-entropy."""
    hidden = np.maximum(data.images @ model[0] + model[1], 0)
    scores = hidden @ model[2] + model[3]
    scores -= scores.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(scores).sum(1)) - scores[np.arange(len(data)), data.labels]))
