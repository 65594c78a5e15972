"""The network in service: images come from a stream, predictions go out, and a monitor looks for drift.

    python consume.py < stream           64 bytes are an image; a line of the output is a digit, or an alarm

Prometheus reads /metrics at the port that the first line of the output names.
"""

import sys
from pathlib import Path

import numpy as np
from prometheus_client import Counter, Gauge, start_http_server
from week09_experiment_tracking.drift import Cusum

from classifier.inference import Classifier, features

FEATURES = ["ink", "confidence"]
IMAGES = Counter("images", "Images read from the stream")
ALARMS = Counter("drift_alarms", "Alarms of the drift monitor", ["feature"])
LEVEL = Gauge("drift_level", "Statistic of the monitor over its limit", ["feature"])


def main() -> None:
    """Read until the stream ends."""
    model = Classifier(Path("model.npz"))
    with np.load("data/prepared.npz") as prepared:
        known = prepared["test_images"]  # not the training images: the network is surer of those
    monitor = Cusum(features(known, model.probabilities(known)), run_length=100_000, size=20, names=FEATURES)
    for name in FEATURES:
        ALARMS.labels(name)  # a counter that begins with its first alarm at 1 has never increased
    server, _ = start_http_server(0, "127.0.0.1")
    print(server.server_port, flush=True)
    while len(chunk := sys.stdin.buffer.read(64)) == 64:
        image = np.frombuffer(chunk, np.uint8)[None]
        probabilities = model.probabilities(image)
        print(probabilities.argmax(), flush=True)
        for alarm in monitor.update(features(image, probabilities)):
            ALARMS.labels(alarm.feature).inc()
            print(f"alarm: {alarm.feature}, image {alarm.row}", flush=True)
        for name, level in monitor.levels().items():
            LEVEL.labels(name).set(level)
        IMAGES.inc()


if __name__ == "__main__":
    main()
