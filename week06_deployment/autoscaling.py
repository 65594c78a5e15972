"""Replicas over time: what an autoscaler does with a load that jumps, and what a rolling update leaves of capacity.

A fluid model: requests arrive at a rate, each ready pod serves `per_pod` of them a second, what is not served waits.
The scaler is the HorizontalPodAutoscaler as Kubernetes documents it: every 15 seconds it wants

    ceil(replicas * metric / target)

replicas, where `metric` is the mean over the ready pods; a difference of a tenth or less is ignored; the number at
most doubles or grows by four, whichever is more, in 15 seconds; and it follows the highest wish of the last five
minutes downwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

TOLERANCE = 0.1
PERIOD = 15.0
"""Seconds between two decisions."""


def wanted(replicas: int, metric: float, target: float) -> int:
    """The replicas that the formula asks for. Raises ValueError for a target of zero or less."""
    if target <= 0:
        raise ValueError(f"a target is above zero, not {target}")
    if abs(metric / target - 1) <= TOLERANCE:
        return replicas
    return max(1, math.ceil(replicas * metric / target))


@dataclass
class Run:
    """A simulated run, a value for each second; `per_pod` is what a pod serves in a second."""

    per_pod: float = 1.0
    seconds: list[float] = field(default_factory=list)
    arriving: list[float] = field(default_factory=list)
    replicas: list[int] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)

    def until_served(self, load: float, per_pod: float) -> float:
        """The first second from which on the ready pods can serve `load` requests a second; infinity if never."""
        enough = [t for t, ready in zip(self.seconds, self.ready, strict=True) if ready * per_pod >= load]
        return enough[0] if enough else math.inf

    def waits(self) -> np.ndarray:
        """Seconds until those who arrive at each second are served, in the order of arrival, by all pods that come.

        float64, one for each second; NaN for those whom the run's end leaves waiting.
        """
        arrived = np.concatenate([[0.0], np.cumsum(self.arriving)])[:-1]  # before each second
        served = arrived - np.array(self.waiting)
        return np.interp(arrived, served, self.seconds, right=np.nan) - np.array(self.seconds)

    @property
    def longest_wait(self) -> float:
        """The longest of these waits, in seconds."""
        return float(np.nanmax(self.waits()))

    def mean(self, start: float) -> float:
        """The mean number of replicas, which are paid for, from a second on."""
        paid = [count for second, count in zip(self.seconds, self.replicas, strict=True) if second >= start]
        return sum(paid) / len(paid)


def busy(arriving: float, waiting: float, capacity: float) -> float:
    """The share of its time that a pod is busy, at most 1: what a CPU metric shows."""
    return min(1.0, (arriving + waiting) / capacity)


def concurrency(arriving: float, waiting: float, capacity: float) -> float:
    """Work that is there over the work that can be done in a second: requests in flight. It has no ceiling."""
    return (arriving + waiting) / capacity


Metric = Callable[[float, float, float], float]


def simulate(
    load: Callable[[float], float],
    per_pod: float,
    metric: Metric = busy,
    target: float = 0.6,
    start: int = 3,
    start_up: float = 30.0,
    most: int = 100,
    seconds: int = 600,
    stable: float = 300.0,
) -> Run:
    """Replicas second by second.

    Args:
        load: requests a second that arrive at a second.
        per_pod: requests a second that one ready pod serves.
        metric: from arriving, waiting and capacity to the number that the scaler looks at.
        start_up: seconds from the decision to a pod that is ready: a node, the image, the model.
        stable: seconds whose highest wish is followed downwards.
    """
    run, waiting, born = Run(per_pod=per_pod), 0.0, [-math.inf] * start
    wishes: list[tuple[float, int]] = []
    for second in range(seconds):
        ready = sum(second - since >= start_up for since in born)
        arriving, capacity = load(second), ready * per_pod
        if second % PERIOD == 0 and second:
            wish = wanted(ready, metric(arriving, waiting, capacity), target)
            wishes = [(t, w) for t, w in [*wishes, (second, wish)] if second - t <= stable]
            replicas = min(most, max(2 * len(born), len(born) + 4), max(wish, 1))
            if replicas > len(born):
                born += [second] * (replicas - len(born))
            else:
                replicas = min(len(born), max(w for _, w in wishes))
                born = sorted(born)[:replicas]
        for name, value in zip(
            ("seconds", "arriving", "replicas", "ready", "waiting"),
            (float(second), arriving, len(born), ready, waiting),
            strict=True,
        ):
            getattr(run, name).append(value)
        waiting = max(0.0, waiting + arriving - capacity)
    return run


def jump(low: float, high: float, at: float = 60.0) -> Callable[[float], float]:
    """A load that jumps once."""
    return lambda second: high if second >= at else low


def during_update(replicas: int, surge: int, unavailable: int, load: float) -> tuple[int, float]:
    """The fewest ready pods of a rolling update, and how busy each of them is then.

    Args:
        surge: pods that may be there besides the wanted number.
        unavailable: pods that may be missing.
        load: how busy each of `replicas` pods is before, 0 to 1.

    Raises ValueError where neither is above zero (nothing could ever be replaced), or where no pod would be left.
    """
    if surge < 1 and unavailable < 1:
        raise ValueError("an update needs room: maxSurge or maxUnavailable above zero")
    if unavailable >= replicas:
        raise ValueError(f"with {unavailable} of {replicas} pods missing nobody answers")
    fewest = replicas - unavailable
    return fewest, load * replicas / fewest
