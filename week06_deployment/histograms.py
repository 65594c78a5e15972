"""Histograms as Prometheus keeps them: what their buckets make of a quantile, and what adding them up saves.

A bucket counts the values up to its bound, so that the counts rise from bucket to bucket. A quantile is then a guess:
the bucket that holds it is known, and within it values are taken to lie evenly.
"""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry, Histogram, start_http_server

DEFAULT = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bounds of prometheus_client for Python, in seconds."""


def growing(low: float, high: float, growth: float) -> tuple[float, ...]:
    """Bounds from `low` on, each `growth` times the one before, until one is `high` or more."""
    steps = math.ceil(math.log(high / low) / math.log(growth) - 1e-9)
    return tuple(round(low * growth**k, 9) for k in range(steps + 1))


def quantile(share: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    """The quantile as `histogram_quantile` computes it.

    Args:
        bounds: upper bounds of the buckets, rising, the last one infinite.
        counts: values up to each bound, so rising too.

    Returns:
        Seconds; where the quantile lies in the last bucket, the largest finite bound; NaN without values.
    """
    if not counts[-1]:
        return math.nan
    rank = share * counts[-1]
    place = next(k for k, count in enumerate(counts) if count >= rank)
    if place == len(bounds) - 1:
        return bounds[-2]
    low, below = (bounds[place - 1], counts[place - 1]) if place else (0.0, 0)
    inside = counts[place] - below
    return low + (bounds[place] - low) * (rank - below) / inside if inside else low


def seconds(count: int, median: float, spread: float, seed: int) -> np.ndarray:
    """Log-normal latencies: most near the median, some much longer; (count,) of float64, seconds."""
    return median * np.exp(spread * np.random.default_rng(seed).standard_normal(count))


@dataclass(frozen=True)
class Known:
    """An exporter whose every value is known: its address, and the latencies behind it by server."""

    address: str
    values: dict[str, np.ndarray]

    @property
    def all(self) -> np.ndarray:
        """The latencies of all servers."""
        return np.concatenate(list(self.values.values()))


@contextlib.contextmanager
def exporter() -> Iterator[Known]:
    """An address to scrape whose two servers have known latencies, in histograms `coarse` and `fine`.

    Server `a` is quick and has most of the traffic, `b` is slow.
    """
    registry = CollectorRegistry()
    kept = {
        "coarse": Histogram("coarse_seconds", "In the library's buckets.", ["server"], registry=registry),
        "fine": Histogram(
            "fine_seconds", "Each bound 1.2 times the last.", ["server"], buckets=FINE, registry=registry
        ),
    }
    values = {"a": seconds(9000, 0.03, 0.35, seed=0), "b": seconds(1000, 0.14, 0.30, seed=1)}
    for histogram in kept.values():
        for server, latencies in values.items():
            child = histogram.labels(server)
            for latency in latencies:
                child.observe(latency)
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    try:
        yield Known(f"127.0.0.1:{server.server_port}", values)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


FINE = growing(0.001, 10, 1.2)
