"""Timing that survives a noisy machine: warm-up, synchronisation, interleaved pairs, medians, intervals.

A ratio of two times is trusted only when both were measured side by side: A B, then B A, and so on, so
that whatever slows the machine slows both (ABBA). The spread of the pair ratios gives the interval.
``python -m week01_intro.instrument`` measures how often that interval is wrong.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from effdl.device import core, synchronize
from effdl.notebook import Table

CONFIDENCE = 0.98


def bootstrap_interval(
    samples: Sequence[float] | np.ndarray,
    statistic: Callable[..., Any] = np.median,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979), from 2,000 resamples with a fixed seed.

    ``statistic`` takes an array and ``axis=``, like ``np.median``. Raises ValueError without samples.
    """
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise ValueError("bootstrap_interval() needs at least one sample")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, not {confidence}")
    picks = np.random.default_rng(0).integers(0, values.size, (2000, values.size))
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(values[picks], axis=1), [tail, 1 - tail])
    return float(low), float(high)


def readable(seconds: float) -> str:
    """A time with three significant digits and the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, as samples."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median seconds of one call."""
        return float(np.median(self.samples))

    @property
    def interval(self) -> tuple[float, float]:
        """98 % bootstrap interval of the median, in seconds."""
        return bootstrap_interval(self.samples)

    @property
    def low(self) -> float:
        """Lower end of the interval, in seconds."""
        return self.interval[0]

    @property
    def high(self) -> float:
        """Upper end of the interval, in seconds."""
        return self.interval[1]

    def __str__(self) -> str:
        low, high = self.interval
        return f"{readable(self.median)} [{readable(low)}, {readable(high)}], {len(self.samples)} samples"


@dataclass(frozen=True)
class Ratio:
    """How many times longer one function takes than another, with its 98 % interval."""

    value: float
    low: float
    high: float

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3g}x [{self.low:.3g}, {self.high:.3g}]"


class Comparison:
    """The times of several functions, measured in interleaved rounds."""

    def __init__(self, samples: Mapping[str, Sequence[float]]):
        self.timings = {name: Timing(tuple(values)) for name, values in samples.items()}

    def _timing(self, name: str) -> Timing:
        if name not in self.timings:
            raise KeyError(f"no function {name!r} in this comparison; it has {', '.join(self.timings)}")
        return self.timings[name]

    def median(self, name: str) -> float:
        """Median seconds of one call."""
        return self._timing(name).median

    def ratio(self, slow: str, fast: str) -> Ratio:
        """Time of ``slow`` over time of ``fast``: the median over pairs, with its interval."""
        pairs = np.asarray(self._timing(slow).samples) / np.asarray(self._timing(fast).samples)
        logs = np.log(pairs)
        low, high = bootstrap_interval(logs)
        return Ratio(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)))

    def table(self) -> Table:
        """One row per function: median, interval, and times longer than the fastest."""
        fastest = min(self.timings, key=self.median)
        rows = [
            [name, readable(timing.median), f"{readable(timing.low)} to {readable(timing.high)}",
             "1" if name == fastest else str(self.ratio(name, fastest))]
            for name, timing in self.timings.items()
        ]  # fmt: skip
        return Table(["", "median", "98 % interval", f"times {fastest}"], rows)

    def plot(self, ax: Any = None) -> Any:
        """Bars of the medians with their intervals. Returns the axes."""
        from effdl import plots

        return plots.times({name: (t.median, *t.interval) for name, t in self.timings.items()}, ax)

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())

    __repr__ = __str__


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _sample(fn: Callable[[], Any], calls: int) -> float:
    synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        fn()
    synchronize()
    return (time.perf_counter() - start) / calls


def compare(
    functions: Mapping[str, Callable[[], Any]],
    pairs: int = 20,
    warmup: int = 2,
    min_time: float | None = None,
) -> Comparison:
    """Time functions in interleaved rounds: every round calls each once, every second round backwards.

    Two functions thus run A B B A A B B A: a drift of the machine touches both alike. The device is
    synchronised before and after each sample, and garbage is not collected meanwhile. A round after which this
    thread finds itself on another core is no pair and is measured again; a quarter of ``pairs`` at most, since
    functions that wait wake up anywhere.

    ``pairs`` is the number of rounds, ``warmup`` the untimed calls of each function before them. A sample
    is one call, or with ``min_time`` (seconds) so many calls that those of the fastest function last as long,
    the same number for all; use it for calls under some 20 us, which the clock and the synchronisation would
    swamp, and functions that take about as long: a sample of one that takes a thousand times as long lasts a
    thousand times ``min_time``.

    What pairs cannot see: where each function's data lie. Two functions that should differ in their work only
    must share their buffers, since the same loop can be a tenth slower on other addresses.

    Raises ValueError without functions, or if pairs is not positive.
    """
    if not functions:
        raise ValueError("compare() needs at least one function: compare({'name': function, ...})")
    if pairs < 1 or warmup < 0:
        raise ValueError(f"compare() needs pairs >= 1 and warmup >= 0, not pairs={pairs}, warmup={warmup}")
    for fn in functions.values():
        for _ in range(warmup):
            fn()
    samples: dict[str, list[float]] = {name: [] for name in functions}
    order, again = list(functions), pairs // 4
    with _no_garbage_collection():
        calls = 1 if min_time is None else _enough_calls(list(functions.values()), min_time)
        for _ in range(pairs):
            taken, moved = _round(functions, order, calls)
            while moved and again:
                again -= 1
                taken, moved = _round(functions, order, calls)
            for name, seconds in taken.items():
                samples[name].append(seconds)
            order.reverse()
    return Comparison(samples)


def _enough_calls(functions: Sequence[Callable[[], Any]], min_time: float) -> int:
    """How many calls of the fastest function last ``min_time`` seconds, by the medians of five samples."""
    calls = 1
    while True:
        medians = [np.median([_sample(fn, calls) for _ in range(5)]) for fn in functions]
        fastest = calls * float(min(medians))
        if fastest >= min_time:
            return calls
        # A clock that has not moved gives no estimate.
        calls = max(2 * calls, round(1.1 * calls * min_time / max(fastest, min_time / 1000)))


def _round(
    functions: Mapping[str, Callable[[], Any]], order: Sequence[str], calls: int
) -> tuple[dict[str, float], bool]:
    """One sample of each function in this order, in seconds; and whether the thread changed its core meanwhile."""
    before = core()
    taken = {name: _sample(functions[name], calls) for name in order}
    return taken, core() != before


def measure(
    fn: Callable[[], Any], repeats: int = 20, warmup: int = 2, min_time: float | None = None
) -> Timing:
    """Time one function: ``repeats`` samples after ``warmup`` calls. For a ratio use compare()."""
    return compare({"": fn}, pairs=repeats, warmup=warmup, min_time=min_time).timings[""]
