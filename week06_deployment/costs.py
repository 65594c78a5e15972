"""What a service costs: prices as data, a calculator for a million requests, and machines that can be taken away.

`prices.csv` holds each price with the day on which it was read and the page that says it. Prices change; read them
anew before you decide, and put your own into the file or into the arguments.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PRICES = Path(__file__).with_name("prices.csv")


@dataclass(frozen=True)
class Price:
    """One row: US dollars per unit, when it was read, and where."""

    what: str
    usd: float
    per: str
    read: str
    source: str


def prices(path: Path = PRICES) -> dict[str, Price]:
    """The table of prices by key. Raises ValueError for a row without a source, a day, or a price above zero."""
    found = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            price = Price(row["what"], float(row["usd"]), row["per"], row["read"], row["source"])
            if not (price.usd > 0 and price.read and price.source.startswith("https://")):
                raise ValueError(
                    f"{path}, {row['key']}: a price needs dollars above zero, a day and a source"
                )
            found[row["key"]] = price
    return found


@dataclass(frozen=True)
class Bill:
    """US dollars for a million requests, part by part."""

    machines: float
    network: float
    balancer: float

    @property
    def total(self) -> float:
        """The sum."""
        return self.machines + self.network + self.balancer


def per_million(
    hourly: float,
    rate: float,
    utilisation: float,
    answer_bytes: float,
    load: float,
    egress: float = 0.09,
    balancer: float = 0.0225,
    unit: float = 0.008,
) -> Bill:
    """What a million requests cost.

    Args:
        hourly: US dollars for a machine and hour.
        rate: requests a second that one machine can serve.
        utilisation: the share of that which it is given on average, 0 to 1: headroom, nights, weekends.
        answer_bytes: bytes of an answer that leave the cloud.
        load: requests a second on average, over which the balancer's fixed price is spread.
        egress: US dollars for a GB that leaves; `balancer`, `unit`: for an hour of the balancer, of a capacity unit
            (here 25 new connections a second, a new one for each request, or 1 GB an hour, whichever is more).

    Raises ValueError for a rate, load or utilisation that is not above zero, or a utilisation above one.
    """
    if not (rate > 0 and load > 0 and 0 < utilisation <= 1):
        raise ValueError(
            f"rate={rate}, load={load} and utilisation={utilisation}: above zero, the last at most one"
        )
    machines = hourly / 3600 / (rate * utilisation) * 1e6
    gigabytes = answer_bytes / 1e9
    units = max(load / 25, load * gigabytes * 3600)
    hours = 1e6 / load / 3600
    return Bill(machines, gigabytes * 1e6 * egress, hours * (balancer + units * unit))


# --- machines that can be taken away ------------------------------------------------------------------------------


def stretch(work: float, every: float, save: float, restart: float, saving: float = 0.0) -> float:
    """Hours of machine that a job of `work` hours takes on average where machines are taken away at random.

    Interruptions come as a Poisson process. After each one the machine is gone; a new one needs `restart` hours, and
    repeats what was done since the last checkpoint. Between checkpoints of `save` hours of work the expected time is
    `(exp((save + saving) / every) - 1) * (every + restart)`, which is Daly's formula (2006), for a restart that
    itself is not interrupted.

    Args:
        every: hours between two interruptions on average.
        save: hours of work between two checkpoints.
        saving: hours that a checkpoint takes.
    """
    if min(work, every, save) <= 0 or min(restart, saving) < 0:
        raise ValueError("work, every and save are hours above zero; restart and saving at least zero")
    return work / save * math.expm1((save + saving) / every) * (every + restart)


def simulated_stretch(
    work: float, every: float, save: float, restart: float, seed: int, runs: int = 400, saving: float = 0.0
) -> np.ndarray:
    """The same by playing it: hours of machine in each of `runs` runs."""
    random, hours = np.random.default_rng(seed), np.zeros(runs)
    for run in range(runs):
        done = 0.0
        while done < work - 1e-9:
            piece = save + saving
            left = random.exponential(every)
            if left >= piece:
                hours[run] += piece
                done += save
            else:
                hours[run] += left + restart
    return hours


def best_save(every: float, saving: float) -> float:
    """Hours between two checkpoints that waste least, to first order: sqrt(2 x saving x every) (Young 1974)."""
    return math.sqrt(2 * saving * every)


def break_even(spot: float, on_demand: float) -> float:
    """By how much a job may be stretched before a spot machine costs more than one on demand."""
    return on_demand / spot


@dataclass(frozen=True)
class Fleet:
    """A service on `kept` machines on demand and `spot` machines that can be taken away; need: how many it takes."""

    kept: int
    spot: int
    need: int

    def short(self, every: float, notice: float, replace: float) -> float:
        """The share of time in which fewer machines than needed are there, if each is taken away by itself.

        Args:
            every: hours between two interruptions of one machine.
            notice: hours of warning, in which a new one can already be started.
            replace: hours until a new one serves.
        """
        gone = max(0.0, replace - notice)
        there = every / (every + gone)
        missing = self.kept + self.spot - self.need
        shares = [
            math.comb(self.spot, lost) * (1 - there) ** lost * there ** (self.spot - lost)
            for lost in range(self.spot + 1)
        ]
        return sum(share for lost, share in enumerate(shares) if lost > missing)

    def simulated(
        self, every: float, notice: float, replace: float, together: float, seed: int, hours: float
    ) -> float:
        """The same share by playing it, where a part of the interruptions takes all spot machines at once.

        Args:
            together: share of a machine's interruptions in which the whole pool goes: the cloud
                wants machines of that kind in that zone back.
        """
        random = np.random.default_rng(seed)
        events = [(float(t), None) for t in _times(random, together / every, hours)]
        for machine in range(self.spot):
            events += [(float(t), machine) for t in _times(random, (1 - together) / every, hours)]
        gone, back, short = max(0.0, replace - notice), np.zeros(self.spot), 0.0
        changes: list[tuple[float, float]] = []
        for moment, machine in sorted(events, key=lambda event: event[0]):
            for which in range(self.spot) if machine is None else [machine]:
                start = max(moment, back[which])
                if moment + gone > back[which]:
                    changes += [(start, -1), (moment + gone, 1)]
                    back[which] = moment + gone
        there, last = self.kept + self.spot, 0.0
        for moment, change in sorted(changes):
            short += (moment - last) * (there < self.need)
            there, last = there + change, moment
        return short / hours

    def hourly(self, spot: float, on_demand: float) -> float:
        """US dollars an hour."""
        return self.kept * on_demand + self.spot * spot


def _times(random: np.random.Generator, rate: float, hours: float) -> Sequence[float]:
    """Moments of a Poisson process."""
    return np.sort(random.uniform(0, hours, random.poisson(rate * hours))).tolist() if rate > 0 else []
