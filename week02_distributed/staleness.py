"""What old gradients do: a law for one parameter, and a simulator of workers around a parameter server.

The simulator's gradients are real, its clock is not: a worker's batch takes the time that we give it. So a result
does not depend on the machine, and a straggler can be made to order.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# ---------------------------------------------------------------------------------------------------------------
# One parameter, one delay
# ---------------------------------------------------------------------------------------------------------------


def largest_stable_step(delay: int) -> float:
    """The largest stable step for f(x) = x^2 / 2 when every gradient is `delay` steps old: 2 sin(pi / (4 delay + 2)).

    x[t + 1] = x[t] - step * x[t - delay] decays below it and grows above it (Levin & May, *A note on
    difference-delay equations*, Theoretical Population Biology, 1976).
    """
    return 2 * math.sin(math.pi / (2 * (2 * delay + 1)))


def descend(delay: int, step: float, steps: int) -> np.ndarray:
    """The path of gradient descent on x^2 / 2 from x = 1, each gradient `delay` steps old; shape (steps + 1,)."""
    path = [1.0]
    for t in range(steps):
        path.append(path[-1] - step * path[max(0, t - delay)])
    return np.array(path)


def measure_stable_step(delay: int) -> float:
    """The same limit found by trying: bisection on whether the path has shrunk in its second half."""
    low, high = 0.0, 2.5
    for _ in range(20):
        middle = (low + high) / 2
        path = np.abs(descend(delay, middle, 400 * (delay + 1)))
        half = len(path) // 2
        shrinks = path[half:].max() < path[half // 2 : half].max()
        low, high = (middle, high) if shrinks else (low, middle)
    return low


# ---------------------------------------------------------------------------------------------------------------
# Workers around a server
# ---------------------------------------------------------------------------------------------------------------


LOOK = 4  # updates between two looks at the loss, which costs more than an update


class Digits:
    """Softmax regression on scikit-learn's 1,797 images of digits (8 x 8): convex, small, real."""

    def __init__(self):
        from sklearn.datasets import load_digits  # a second of work, which worker processes do without

        data = load_digits()
        self.images = np.column_stack([data.data / 16, np.ones(len(data.data))])
        self.labels = data.target

    def loss(self, weights: np.ndarray) -> float:
        """Mean cross-entropy over all images; `weights` has the shape (65, 10)."""
        scores = self.images @ weights
        scores -= scores.max(1, keepdims=True)
        correct = scores[np.arange(len(scores)), self.labels]
        return float(np.mean(np.log(np.exp(scores).sum(1)) - correct))

    def gradient(self, weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Gradient of the mean cross-entropy over the images `chosen`, of the shape of `weights`."""
        scores = self.images[chosen] @ weights
        probabilities = np.exp(scores - scores.max(1, keepdims=True))
        probabilities /= probabilities.sum(1, keepdims=True)
        probabilities[np.arange(len(chosen)), self.labels[chosen]] -= 1
        return self.images[chosen].T @ probabilities / len(chosen)


@dataclass
class Simulated:
    """A run: (seconds, gradients applied, loss) at every look; staleness and step of every gradient.

    The staleness of a gradient is the number of updates between its pull and its use.
    """

    seconds: np.ndarray
    pushes: np.ndarray
    losses: np.ndarray
    staleness: np.ndarray
    steps: np.ndarray

    def seconds_to(self, loss: float) -> float:
        """Seconds until the loss is first at or below `loss`; inf if never."""
        reached = np.flatnonzero(self.losses <= loss)
        return float(self.seconds[reached[0]]) if len(reached) else math.inf


Rule = Callable[[int], float]
"""From the staleness of a gradient to the factor of its step."""


def simulate(
    durations: Sequence[float],
    pushes: int,
    step: float,
    bound: float = math.inf,
    rule: Rule = lambda age: 1.0,
    batch: int = 32,
    seed: int = 0,
) -> Simulated:
    """Train `Digits` with one worker per entry of `durations`, which holds its mean seconds per batch.

    Args:
        pushes: gradients that the server applies in all.
        step: of one gradient. A synchronous round applies the mean of its gradients with `step` times their number.
        bound: a worker waits while it is more than this many batches ahead of the slowest one. 0: synchronous
            rounds; inf: nobody ever waits.
        rule: a factor for the step of a gradient by its staleness.
    """
    rng, task = np.random.default_rng(seed), Digits()
    weights, version, done = np.zeros((65, 10)), 0, 0
    clocks, waiting = [0] * len(durations), deque(range(len(durations)))
    pulled: dict[int, tuple[int, np.ndarray]] = {}
    running: list[tuple[float, int]] = []  # (end of the batch, worker)
    together: list[np.ndarray] = []  # gradients of a synchronous round that is not complete
    now, looks, staleness, steps = 0.0, [], [], []
    while done < pushes:
        for worker in [w for w in waiting if clocks[w] - min(clocks) <= bound]:
            waiting.remove(worker)
            pulled[worker] = version, weights
            heapq.heappush(running, (now + durations[worker] * rng.uniform(0.8, 1.2), worker))
        now, worker = heapq.heappop(running)
        seen, old_weights = pulled[worker]
        gradient = task.gradient(old_weights, rng.integers(len(task.labels), size=batch))
        clocks[worker] += 1
        waiting.append(worker)
        together.append(gradient)
        if bound == 0 and len(together) < len(durations):
            continue
        age = version - seen
        factor = step * rule(age)
        weights = weights - factor * np.sum(together, axis=0)
        staleness += [age] * len(together)
        steps += [factor] * len(together)
        version, done, together = version + 1, done + len(together), []
        if bound == 0 or version % LOOK == 0:
            looks.append((now, done, task.loss(weights)))
    return Simulated(*np.array(looks).T, np.array(staleness), np.array(steps))
