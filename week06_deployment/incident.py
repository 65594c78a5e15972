"""An incident, watched: a service is well, then a fifth of its answers are errors, then it is killed.

Prometheus scrapes it all the time, and holds two alerts. What it says at each moment is asked and kept.
"""

import contextlib
import threading
import time
from dataclasses import dataclass, field

from effdl import load
from week06_deployment import histograms, monitoring

REQUEST = bytes(64)
"""A picture without ink."""

RATES = {
    "all": 'sum(rate(http_requests_total{route="/predict"}[3s]))',
    "errors": 'sum(rate(http_requests_total{route="/predict",code=~"5.."}[3s]))',
    "ManyErrors fires": 'count(ALERTS{alertname="ManyErrors",alertstate="firing"})',
    "Gone fires": 'count(ALERTS{alertname="Gone",alertstate="firing"})',
}

KNOWN = {
    "p99, coarse": "histogram_quantile(0.99, sum by (le) (coarse_seconds_bucket))",
    "p99, fine": "histogram_quantile(0.99, sum by (le) (fine_seconds_bucket))",
    "mean of two p99, fine": "avg(histogram_quantile(0.99, sum by (le, server) (fine_seconds_bucket)))",
    "weighted mean of two p99, fine": (
        "sum(histogram_quantile(0.99, sum by (le, server) (fine_seconds_bucket)) * "
        "on (server) sum by (server) (fine_seconds_count)) / sum(fine_seconds_count)"
    ),
}


@dataclass
class Incident:
    """What was seen, from the generator's side and from Prometheus'. Times are seconds since the load began.

    `history` holds, for each expression of RATES, times and values; `known` an answer for each of KNOWN.
    """

    sent: float = 0.0
    seen: float = 0.0
    faults_began: float = 0.0
    alerted: float = 0.0
    killed: float = 0.0
    gone: float = 0.0
    silent: float = 0.0
    answered: int = 0
    counted: float = 0.0
    history: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    known: dict[str, float] = field(default_factory=dict)


def watched(rate: float = 40.0, healthy: float = 5.0, every: float = 0.5) -> Incident:
    """Play the incident; takes some twenty seconds.

    Args:
        rate: requests a second, as long as the service lives; a fifth of them ask for an error in the second part.
        healthy: seconds before the errors begin.
        every: seconds between two scrapes.
    """
    found, wait = Incident(), monitoring.until
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(monitoring.served())
        known = stack.enter_context(histograms.exporter())
        targets = {"digits": [service.address], "known": [known.address]}
        rules = monitoring.alerting(window="3s", hold="1s")
        watch = stack.enter_context(monitoring.prometheus(targets, rules, every))
        watch.wait(f'count(up{{job=~"{"|".join(targets)}"}} == 1) == 2')
        found.known = {name: watch.value(query) for name, query in KNOWN.items()}

        wait(lambda: not watch.alerts(), "no alert is left from the start")
        began = time.time()
        good = load.Http(f"{service.url}/predict", body=REQUEST)
        bad = load.Http(f"{service.url}/predict", body=REQUEST, headers={"X-Fault": "1"})
        first = load.background(load.open_loop, good, rate, healthy, arrivals="even")
        time.sleep(max(0.0, began + healthy - 0.3 - time.time()))
        found.seen = watch.value(RATES["all"])
        before = first.result()
        found.sent = before.rate

        found.faults_began = time.time() - began
        with Loads() as parts:
            parts.start(good, 0.8 * rate)
            parts.start(bad, 0.2 * rate)
            wait(lambda: watch.alerts().get("ManyErrors") == "firing", "the alert for errors fires")
            found.alerted = time.time() - began
            time.sleep(1)
        found.answered = sum(part.count for part in parts.results)
        service.child.kill()
        found.killed = time.time() - began
        wait(lambda: watch.alerts().get("Gone") == "firing", "the alert for a service that is gone fires")
        found.gone = time.time() - began
        wait(lambda: "ManyErrors" not in watch.alerts(), "the alert for errors falls silent")
        found.silent = time.time() - began
        found.answered += before.count
        found.counted = watch.value('sum(max_over_time(http_requests_total{route="/predict"}[1m]))')
        time.sleep(1)
        for name, query in RATES.items():
            for _, times, values in watch.series(query, time.time() - began, every / 2):
                found.history[name] = [moment - began for moment in times], values
    return found


class Loads:
    """Loads in the background that all end with the block; afterwards `results` holds what they saw."""

    def __enter__(self) -> "Loads":
        self.stop, self.running, self.results = threading.Event(), [], []
        return self

    def start(self, send: load.Http, rate: float) -> None:
        """Send at a rate until the block ends."""
        self.running.append(
            load.background(load.open_loop, send, rate, monitoring.DEADLINE, arrivals="even", stop=self.stop)
        )

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.results = [part.result() for part in self.running]
