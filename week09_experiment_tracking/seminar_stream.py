"""The network in service under a real Prometheus, and a scanner that somebody mounts askew."""

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from effdl import prometheus
from effdl.processes import end
from week09_experiment_tracking.seminar_project import KEPT_BACK, Project, digits, environment

ASKEW = 20.0
"""Degrees by which the second scanner turns its images."""
CLEAN, TURNED = 300, 300  # of the images that were kept back: those of the stream's parts
RATE = 300.0  # images a second
EVERY = 0.25  # seconds between two scrapes, and between two evaluations of the rules


def turned(images: np.ndarray, degrees: float = ASKEW) -> np.ndarray:
    """Images [n, 64] uint8, each turned about its middle, as the second scanner sees them."""
    square = images.reshape(-1, 8, 8).astype(float)
    found = ndimage.rotate(square, degrees, axes=(1, 2), reshape=False, order=1)
    return np.clip(np.rint(found), 0, 16).astype(np.uint8).reshape(images.shape)


def stream(count: int, askew: bool, seed: int = 0) -> np.ndarray:
    """Images [count, 64] that the training has not seen, drawn with replacement, from one scanner or the other."""
    later = digits()[-KEPT_BACK:, :64].astype(np.uint8)[:CLEAN]
    chosen = later[np.random.default_rng(seed + askew).integers(0, len(later), count)]
    return turned(chosen) if askew else chosen


def second_scanner() -> np.ndarray:
    """Images of the second scanner with their labels, (300, 65): 64 pixels and the digit."""
    later = digits()[-TURNED:]
    return np.column_stack([turned(later[:, :64].astype(np.uint8)), later[:, 64]])


@dataclass
class Consumer:
    """consume.py, running: its port, and the lines that it has written since."""

    child: subprocess.Popen
    port: int
    lines: list[str] = field(default_factory=list)

    def send(self, images: np.ndarray, rate: float, stop: threading.Event | None = None) -> int:
        """Write images to the stream at an even rate until all are sent or `stop` is set; how many were."""
        began = time.perf_counter()
        for number, image in enumerate(images):
            if stop is not None and stop.is_set():
                return number
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            self.child.stdin.write(image.tobytes())
            self.child.stdin.flush()
        return len(images)

    def alarms(self) -> list[str]:
        """What the monitor's alarms said."""
        return [line for line in self.lines if line.startswith("alarm")]


@contextlib.contextmanager
def consumer(project: Project) -> Iterator[Consumer]:
    """The network in service; its stream ends with the block, and so does it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    environ = environment(project.folder.parent)
    line = [sys.executable, "consume.py"]
    with prometheus.process(line, cwd=project.folder, env=environ, **pipes) as child:
        said = child.stdout.readline()
        if not said:
            raise RuntimeError("consume.py ended before it served")
        found = Consumer(child, int(said))
        reader = threading.Thread(
            target=lambda: found.lines.extend(iter(lambda: child.stdout.readline().decode(), ""))
        )
        reader.start()
        try:
            yield found
        finally:
            with contextlib.suppress(OSError):
                child.stdin.close()
            end(child)
            reader.join()
            child.stdout.close()


@dataclass
class Watched:
    """What Prometheus said of a stream that begins to drift. Times are seconds since the first drifted image.

    `before` holds the alerts of the healthy part, `alarm` what the first alarm said, `images` how many drifted images
    it took, `fired` when the alert fired, `level` the monitor's gauge by feature as times and values.
    """

    before: dict[str, str] = field(default_factory=dict)
    healthy: int = 0
    alarm: str = ""
    images: int = 0
    fired: float = 0.0
    level: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)


def watched(project: Project, rules: str, alert: str = "Drift", healthy: int = 600) -> Watched:
    """Serve `healthy` images of the first scanner and then those of the second, until the alert fires.

    Raises TimeoutError if it does not fire within 30 s.
    """
    found = Watched(healthy=healthy)
    with consumer(project) as served, contextlib.ExitStack() as stack:
        targets = {"digits": [f"127.0.0.1:{served.port}"]}
        watch = stack.enter_context(prometheus.prometheus(targets, rules, EVERY))
        watch.wait("sum(drift_alarms_total) == 0")
        served.send(stream(healthy, askew=False), RATE)
        time.sleep(3 * EVERY)  # the last of them are scraped, and the rules are asked
        found.before = watch.alerts()
        began, stop = time.time(), threading.Event()
        sender = threading.Thread(target=served.send, args=(stream(5000, askew=True), RATE, stop))
        sender.start()
        try:
            prometheus.until(lambda: watch.alerts().get(alert) == "firing", f"the alert {alert} fires", 30)
            found.fired = time.time() - began
            time.sleep(2 * EVERY)
        finally:
            stop.set()
            sender.join()
        for labels, times, values in watch.series(
            "drift_level", time.time() - began + healthy / RATE + 1, EVERY
        ):
            found.level[labels["feature"]] = [moment - began for moment in times], values
    found.alarm = served.alarms()[0].strip()
    found.images = int(found.alarm.rpartition(" ")[2]) - healthy
    return found


def shares(model: object, tables: Sequence[np.ndarray]) -> list[float]:
    """The share of each table's rows that a Classifier reads rightly."""
    return [float((model.scores(table[:, :64]).argmax(1) == table[:, 64]).mean()) for table in tables]
