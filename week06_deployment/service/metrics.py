"""What the service tells its operators: requests, their time, the queue, the batches.

With several workers each process has counters of its own, and a scrape reaches one of them. prometheus_client then
keeps the numbers in files of a folder that all workers share, named by PROMETHEUS_MULTIPROC_DIR, which must be set
before that package is imported. The master does so.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
IMAGES = (1, 2, 4, 8, 16, 32, 64)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of a process, and their text for a scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self.requests = Counter("http_requests", "Requests answered", ["route", "code"], **own)
        self.seconds = Histogram(
            "http_request_seconds",
            "From a request's headers to the end of its answer",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self.batches = Histogram("batch_images", "Images of a batch", buckets=IMAGES, **own)
        self.inference = Histogram("inference_seconds", "Seconds of a batch", buckets=SECONDS, **own)
        self.open = Gauge("http_requests_open", "Requests being answered", multiprocess_mode="livesum", **own)
        self.queue = Gauge("queue_images", "Images that wait", multiprocess_mode="livesum", **own)

    def batch(self, size: int, seconds: float) -> None:
        """Note a batch."""
        self.batches.observe(size)
        self.inference.observe(seconds)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format: of all workers, where they share a folder."""
        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        multiprocess.MultiProcessCollector(everyone)
        return generate_latest(everyone)
