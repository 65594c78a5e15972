"""A queue on paper: what waiting costs by theory, and what it must cost for one given trace of arrivals.

Letters: arrivals a second (rate), mean seconds of service, workers, utilisation = rate x seconds / workers.
"""

import math
from collections.abc import Sequence

import numpy as np

from effdl import load


def erlang_c(workers: int, utilisation: float) -> float:
    """The share of requests that find all workers busy, in M/M/c (Erlang 1917).

    Raises ValueError unless 0 < utilisation < 1 and there is a worker.
    """
    if workers < 1 or not 0 < utilisation < 1:
        raise ValueError(
            f"a queue settles with a worker and a utilisation between 0 and 1, not {workers}, {utilisation}"
        )
    offered = workers * utilisation
    term = total = 1.0  # terms a^k / k!, for k = 0, 1, ...
    for k in range(1, workers):
        term *= offered / k
        total += term
    last = term * offered / workers / (1 - utilisation)
    return last / (total + last)


def waiting(rate: float, seconds: float, workers: int = 1, variation: float = 1.0) -> float:
    """Mean seconds in the queue before service, for Poisson arrivals.

    ``variation`` is the spread of the service time over its mean, squared: 1 for exponential service (M/M/c), 0 for
    service that always takes as long (M/D/c). Exact for M/M/c, and for one worker with any service (Pollaczek 1930,
    Khinchine 1932); for several it is the approximation of Lee and Longton (1959). Infinite where as
    much arrives as can be served, or more, as a measured server on a busy machine may find.
    """
    utilisation = rate * seconds / workers
    if utilisation >= 1:
        return math.inf
    crowd = erlang_c(workers, utilisation)
    return (1 + variation) / 2 * crowd * seconds / (workers * (1 - utilisation))


def on_paper(arrivals: np.ndarray, seconds: float, workers: int = 1) -> np.ndarray:
    """Seconds from arrival to answer of each request, if workers serve them in order (Lindley 1952).

    ``arrivals`` ascend; each service takes ``seconds``. Request i then begins when it is there and request
    i - workers is done. float64, as long as arrivals.
    """
    arrivals = np.asarray(arrivals, np.float64)
    latencies = np.empty(len(arrivals))
    for lane in range(workers):
        own = arrivals[lane::workers]
        before = seconds * np.arange(len(own))
        latencies[lane::workers] = np.maximum.accumulate(own - before) + before + seconds - own
    return latencies


def typical(rate: float, lasting: float, seconds: float, workers: int = 1, seeds: int = 300) -> np.ndarray:
    """Poisson arrivals whose queue on paper waits as long as theory says of the average trace.

    A trace of a few seconds is too short for an average: in some the queue hardly forms, in others it never empties.
    Of ``seeds`` traces this returns the one closest to :func:`waiting` for service that always takes ``seconds``.
    It is chosen before anything is measured. Shape [round(rate * lasting)], seconds from the start, ascending.
    """
    expected = seconds + waiting(rate, seconds, workers, variation=0)

    def off(seed: int) -> float:
        arrivals = load.schedule(rate, lasting, seed=seed)
        # A trace that is itself too dense or too thin would be typical by chance only.
        far = abs(len(arrivals) / arrivals[-1] / rate - 1)
        return abs(on_paper(arrivals, seconds, workers).mean() / expected - 1) + far

    return load.schedule(rate, lasting, seed=min(range(seeds), key=off))


def mean_inside(seen: Sequence[tuple[float, int]], start: float, end: float) -> float:
    """The average of a gauge between two moments; each reading (moment, number) counts until the next one.

    Raises ValueError if it was not read between them.
    """
    moments, numbers = np.array(seen, np.float64).T
    lasts = np.clip(np.append(moments[1:], moments[-1]), start, end) - np.clip(moments, start, end)
    if lasts.sum() <= 0:
        raise ValueError(f"the gauge was not read between {start} and {end}")
    return float((numbers * lasts).sum() / lasts.sum())


def steps(*parts: tuple[float, float], seed: int = 0) -> np.ndarray:
    """Poisson arrivals at a rate that changes: each part is (arrivals a second, seconds)."""
    starts = np.cumsum([0.0, *(lasting for _, lasting in parts)])
    return np.sort(
        np.concatenate(
            [
                start + load.schedule(rate, lasting, seed=seed + place)
                for place, ((rate, lasting), start) in enumerate(zip(parts, starts, strict=False))
            ]
        )
    )


def bursts(rate: float, size: int, apart: float, lasting: float, seed: int = 0) -> np.ndarray:
    """Users who come as a Poisson process and send ``size`` requests each, ``apart`` seconds from one to the next.

    ``rate`` is requests a second in all.
    """
    users = load.schedule(rate / size, lasting, seed=seed)
    return np.sort((users[:, None] + apart * np.arange(size)).ravel())
