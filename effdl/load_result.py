"""What a run of a load generator gives: the times of every request, and quantiles in HdrHistogram's layout."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from effdl.notebook import Table


class Histogram:
    """Times in buckets whose width grows with the value, in the layout of HdrHistogram with three digits.

    Values are whole microseconds. 2,048 buckets are 1 us wide; then come 1,024 of 2 us, 1,024 of 4 us, and so on: a
    value is known to a thousandth, from a microsecond to hours, in a few thousand counters. Histograms can be
    added, which quantiles cannot.
    """

    HALF = 1024  # buckets in each power of two: one more than a thousandth needs

    def __init__(self, seconds: Sequence[float] | np.ndarray = ()):
        self.counts = np.zeros(0, np.int64)
        self.add(seconds)

    def add(self, seconds: Sequence[float] | np.ndarray) -> None:
        """Count these times, in seconds. Raises ValueError for a negative one or one that is no number."""
        values = np.asarray(seconds, np.float64)
        if values.size and not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError("a histogram counts times from zero on, in seconds; one of these is not")
        if values.size:
            self._merge(np.bincount(self._bucket(np.rint(values * 1e6).astype(np.int64))))

    def _merge(self, counts: np.ndarray) -> None:
        longer, shorter = sorted((self.counts, counts), key=len, reverse=True)
        self.counts = longer.copy()
        self.counts[: len(shorter)] += shorter

    def _bucket(self, us: np.ndarray) -> np.ndarray:
        """The number of the bucket of each whole number of microseconds."""
        shift = np.maximum(np.frexp(np.maximum(us, 1).astype(np.float64))[1] - 11, 0)
        return shift * self.HALF + (us >> shift)

    def _highest(self, bucket: np.ndarray | int) -> np.ndarray:
        """The largest number of microseconds that falls into a bucket."""
        bucket = np.asarray(bucket)
        shift = np.maximum(bucket // self.HALF - 1, 0)
        return ((bucket - shift * self.HALF + 1) << shift) - 1

    @property
    def count(self) -> int:
        """How many times it holds."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """Seconds that this share of the times do not exceed, to a thousandth; NaN if it holds none."""
        if not 0 <= share <= 1:
            raise ValueError(
                f"a quantile's share lies between 0 and 1; 0.99 is the 99th percentile, not {share}"
            )
        if not self.count:
            return math.nan
        # The small slack keeps 0.9 x 10 from becoming the tenth value by rounding.
        rank = max(math.ceil(share * self.count - 1e-9 * self.count), 1)
        return float(self._highest(int(np.searchsorted(np.cumsum(self.counts), rank)))) / 1e6

    def __add__(self, other: "Histogram") -> "Histogram":
        both = Histogram()
        both._merge(self.counts)
        both._merge(other.counts)
        return both

    def corrected(self, interval: float) -> "Histogram":
        """With the requests that a closed loop left out, as HdrHistogram guesses them.

        A client that meant to send every ``interval`` seconds and waited longer for an answer would have sent more
        requests meanwhile; each would have waited ``interval`` less than the one before it. This adds them.
        """
        if interval <= 0:
            raise ValueError(f"the interval between two sends is longer than zero, not {interval} s")
        added = Histogram()
        added._merge(self.counts)
        step = round(interval * 1e6)
        for bucket in np.flatnonzero(self.counts):
            longest = int(self._highest(int(bucket)))
            missing = np.arange(longest - step, step - 1, -step)
            if missing.size:
                added._merge(np.bincount(self._bucket(missing)) * self.counts[bucket])
        return added


@dataclass(frozen=True)
class LoadResult:
    """All requests of a run, in the order in which they were meant to be sent.

    ``intended``, ``sent`` and ``done`` are seconds since the run began, float64, one for each request. ``wrong``
    holds "" for each request that was answered well, or what is wrong in a word. In a closed loop there is no
    intention: ``intended`` is ``sent``. ``began`` is the run's begin by ``time.perf_counter``, which on Linux is one
    clock for all processes.
    """

    loop: str
    seconds: float
    intended: np.ndarray
    sent: np.ndarray
    done: np.ndarray
    wrong: np.ndarray
    began: float = 0.0

    @property
    def count(self) -> int:
        """Number of requests."""
        return len(self.sent)

    @property
    def well(self) -> np.ndarray:
        """Which requests were answered well; bool, one for each request."""
        return self.wrong == ""

    @property
    def errors(self) -> dict[str, int]:
        """How many requests went wrong in each way, the most frequent first."""
        return dict(Counter(self.wrong[~self.well].tolist()).most_common())

    @property
    def failed(self) -> int:
        """How many requests went wrong."""
        return int((~self.well).sum())

    @property
    def latencies(self) -> np.ndarray:
        """Seconds from the intended send to the answer, of the requests that were answered well."""
        return (self.done - self.intended)[self.well]

    @property
    def from_send(self) -> np.ndarray:
        """Seconds from the actual send to the answer, of the requests that were answered well."""
        return (self.done - self.sent)[self.well]

    def histogram(self, since: str = "intended") -> Histogram:
        """The latencies in buckets; ``since`` is "intended" or "sent"."""
        if since not in ("intended", "sent"):
            raise ValueError(
                f'a latency counts since the "intended" or the actual ("sent") send, not {since!r}'
            )
        return Histogram(self.latencies if since == "intended" else self.from_send)

    def quantile(self, share: float, since: str = "intended") -> float:
        """Latency in seconds that this share of the requests answered well do not exceed; NaN without any."""
        return self.histogram(since).quantile(share)

    def late(self, share: float = 0.99) -> float:
        """Quantile of the seconds by which this generator sent late.

        The latencies from the intended send hold them too. Where they are no small part of those, the generator
        was the bottleneck, and it is not the server that was measured.
        """
        return Histogram(np.maximum(self.sent - self.intended, 0)).quantile(share)

    @property
    def rate(self) -> float:
        """Requests a second that were meant to be sent."""
        return self.count / self.seconds if self.seconds > 0 else 0.0

    @property
    def throughput(self) -> float:
        """Good answers a second, from the start to the last answer or to the planned end, whichever is later."""
        lasted = max(self.seconds, float(self.done.max(initial=0.0)))
        return float(self.well.sum()) / lasted if lasted else 0.0

    def goodput(self, within: float) -> float:
        """Good answers a second that came within so many seconds of their intended send."""
        return float((self.latencies <= within).sum()) / self.seconds if self.seconds > 0 else 0.0

    def between(self, start: float, end: float = math.inf) -> "LoadResult":
        """Only the requests meant to be sent in these seconds of the run: without a warm-up, say."""
        mask = (self.intended >= start) & (self.intended < end)
        parts = {name: getattr(self, name)[mask] for name in ("intended", "sent", "done", "wrong")}
        for name in ("intended", "sent", "done"):
            parts[name] = parts[name] - start
        return replace(
            self, seconds=max(min(end, self.seconds) - start, 0.0), began=self.began + start, **parts
        )

    def table(self, title: str = "") -> "Table":
        """Counts and quantiles, from the intended and from the actual send."""
        from effdl.notebook import Table

        rows = [
            [
                f"p{100 * share:g}",
                *(f"{1e3 * self.quantile(share, since):,.2f} ms" for since in ("intended", "sent")),
            ]
            for share in (0.5, 0.9, 0.95, 0.99, 0.999, 1)
        ]
        return Table(["", "from the intended send", "from the actual send"], rows, title or self._words())

    def _words(self) -> str:
        wrong = "".join(f", {number} x {word}" for word, number in self.errors.items())
        return (
            f"{self.loop} loop: {self.count:,} requests in {self.seconds:.3g} s, {self.failed:,} failed{wrong}; "
            f"{self.throughput:,.1f} good answers a second; sent late by {1e3 * self.late():.2f} ms (p99)"
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def __str__(self) -> str:
        return str(self.table())
