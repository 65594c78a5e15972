"""Two models that predict the time of a linear layer: a white box (roofline) and a black box (regression).

A layer is a shape (batch, inputs, outputs): a float32 product of (batch, inputs) by (inputs, outputs), plus a
bias. Models of both kinds plan real systems: PALEO (Qi et al., ICLR 2017) computes layer times from hardware
constants, NeuralPower (Cai et al., ACML 2017) fits polynomials to measured layers.
"""

import itertools
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from effdl.device import device, scale, synchronize


def draw_shapes(count, smallest, largest, seed):
    """``count`` shapes (batch, inputs, outputs), each number log-uniform in [smallest, largest]; int array."""
    logs = np.random.default_rng(seed).uniform(np.log(smallest), np.log(largest), (count, 3))
    return np.round(np.exp(logs)).astype(int)


def probe_shapes():
    """The three layers that show the constants of the white box: launch, arithmetic, memory."""
    wide = scale(cpu=4096, gpu=16384)
    return np.array([(1, 1, 1), (wide // 4,) * 3, (1, wide, wide)])


def flops(shapes):
    """FLOP of each layer of an int array of shape (layers, 3)."""
    return 2.0 * np.prod(shapes, axis=1, dtype=float)


def nbytes(shapes):
    """Bytes each layer must move: input, weight, output, in float32."""
    return 4.0 * sum(shapes[:, i] * shapes[:, j] for i, j in itertools.combinations(range(3), 2))


@contextmanager
def one_thread():
    """On a CPU, run PyTorch on one thread: a second one waits for whatever else the machine does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_layers(shapes, rounds=8, sample=2e-4):
    """Seconds of a forward call of each layer, on one CPU thread or on the GPU; float array of shape (layers,).

    Every round times each layer once, in a new random order, over as many calls as last ``sample`` seconds. The
    fastest round counts: the models describe an undisturbed machine, and a disturbance only adds time.
    """
    rng = np.random.default_rng(0)
    best = np.full(len(shapes), np.inf)
    with torch.no_grad(), one_thread():
        layers = [torch.nn.Linear(k, n, device=device()) for _, k, n in shapes.tolist()]
        inputs = [torch.randn(m, k, device=device()) for m, k, _ in shapes.tolist()]
        calls = np.ones(len(shapes), int)
        for turn in range(rounds + 1):
            for i in rng.permutation(len(shapes)):
                taken = _time_calls(layers[i], inputs[i], calls[i])
                if turn == 0:  # the first round warms up, and shows how many calls make a sample
                    calls[i] = max(1, int(sample / taken))
                else:
                    best[i] = min(best[i], taken)
    return best


def _time_calls(layer, x, calls):
    layer(x)  # brings weights and input back into the cache
    # One thread on a CPU can be timed by its own clock, which stands while the system runs something else.
    # Some systems move that clock in ticks of 10 ms; where it stood all the time, the other one counts.
    synchronize()
    on_cpu, start = time.thread_time(), time.perf_counter()
    for _ in range(calls):
        layer(x)
    synchronize()
    seconds, worked = time.perf_counter() - start, time.thread_time() - on_cpu
    return max(1e-9, worked if device().type == "cpu" and worked > 0 else seconds) / calls


@dataclass(frozen=True)
class WhiteBox:
    """time = launch + max(FLOP / flops, bytes / bandwidth): the roofline plus the cost of a call that does nothing.

    ``launch`` in seconds, ``flops`` in FLOP/s, ``bandwidth`` in bytes/s.
    """

    launch: float
    flops: float
    bandwidth: float

    @classmethod
    def calibrate(cls, probe_times):
        """The three constants from the times of :func:`probe_shapes`, in that order."""
        launch, compute, memory = probe_times
        _, square, wide = probe_shapes()
        return cls(
            launch, flops(square[None])[0] / (compute - launch), nbytes(wide[None])[0] / (memory - launch)
        )

    def predict(self, shapes):
        """Seconds of each layer; float array of shape (layers,)."""
        return self.launch + np.maximum(flops(shapes) / self.flops, nbytes(shapes) / self.bandwidth)


@dataclass(frozen=True)
class BlackBox:
    """log time = a quadratic polynomial of log batch, log inputs and log outputs, fitted by least squares."""

    weights: np.ndarray

    @classmethod
    def fit(cls, shapes, seconds):
        """Fit to measured layers: int array (layers, 3) and seconds (layers,)."""
        return cls(np.linalg.lstsq(cls.features(shapes), np.log(seconds), rcond=None)[0])

    @staticmethod
    def features(shapes):
        """1, the three logarithms, and their six products of two; float array of shape (layers, 10)."""
        logs = np.log(shapes)
        pairs = itertools.combinations_with_replacement(range(3), 2)
        products = [logs[:, i] * logs[:, j] for i, j in pairs]
        return np.column_stack([np.ones(len(logs)), logs, *products])

    def predict(self, shapes):
        """Seconds of each layer; float array of shape (layers,)."""
        return np.exp(self.features(shapes) @ self.weights)


def error(predicted, measured):
    """Median absolute error of the predictions, as a share of what was measured."""
    return float(np.median(np.abs(predicted / measured - 1)))
