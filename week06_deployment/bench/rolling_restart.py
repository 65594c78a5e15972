"""A hundred thousand requests through ten restarts of every worker: how many fail?

    python -m week06_deployment.bench.rolling_restart                 # about six minutes
    python -m week06_deployment.bench.rolling_restart --setup uvicorn --requests 20000 --rate 200

The client is an open loop that tries nothing twice. A request counts as failed if there was no answer, if its status
was not 200, or if its digit is not the one that the model gives alone. The result is written to
`rolling_restart.json` beside this file, one entry for each set-up.
"""

import argparse
import datetime
import json
import sys
import time
from pathlib import Path

import numpy as np

from effdl import device, results
from effdl.load import Answer, Http, background, open_loop
from week06_deployment import setups
from week06_deployment.service import model, pictures

RECORD = Path(__file__).with_suffix(".json")
IMAGES = 200


def measure(setup: str, requests: int, rate: float, restarts: int, workers: int = 2) -> dict:
    """Put a set-up under load and restart it; what was counted, as plain numbers.

    Args:
        setup: a name in SETUPS.
        requests, rate: how many, and how many a second (a Poisson process).
        restarts: of every worker; evenly spread over the run.

    Raises RuntimeError if the load ended before the last restart did: choose more requests then.
    """
    images = model.digits()[0][:IMAGES]
    alone = model.Classifier()(images).argmax(1)
    files = [pictures.encode(image) for image in images]

    def wrong(answer: Answer, number: int) -> str | None:
        if answer.status != 200:
            return str(answer.status)
        said = json.loads(answer.body)["digit"]
        return None if said == alone[number % IMAGES] else "another digit"

    with SETUPS[setup](workers) as (server, restart):
        seen = set(server.workers())
        send = Http(
            f"{server.address}/predict",
            lambda number: files[number % IMAGES],
            headers={"Content-Type": "image/png"},
            read=wrong,
        )
        seconds = requests / rate
        began = time.monotonic()
        load = background(open_loop, send, rate, seconds, timeout=60)
        took = []
        for number in range(restarts):
            time.sleep(max(0.0, began + (number + 0.2) * seconds / restarts - time.monotonic()))
            start = time.monotonic()
            restart()
            took.append(time.monotonic() - start)
            seen |= set(server.workers())
            print(f"restart {number + 1} of {restarts}: {took[-1]:.1f} s", file=sys.stderr, flush=True)
        if load.done():
            raise RuntimeError("the load ended before the last restart; choose more requests")
        result = load.result()
    return {
        "setup": setup,
        "requests": result.count,
        "rate": rate,
        "failed": result.failed,
        "errors": result.errors,
        "workers": workers,
        "restarts": restarts,
        "processes": len(seen),
        "seconds_of_a_restart": round(float(np.median(took)), 2),
        "milliseconds": {
            name: round(1e3 * result.quantile(share), 2)
            for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
        },
        "sent_late_p99_ms": round(1e3 * result.late(0.99), 2),
        "machine": device.kind(),
        "versions": results.versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


SETUPS = {
    "ours": lambda workers: setups.ours(workers, stub=None),
    "uvicorn": lambda workers: setups.uvicorn(workers, setups.MODEL),
    "gunicorn": lambda workers: setups.gunicorn(workers, setups.MODEL),
}
"""Each a function from the number of workers to a context manager, as in `setups`."""


def main() -> int:
    """Measure, print and record; exit status 1 if our own set-up lost a request."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setup", choices=sorted(SETUPS), default="ours")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=280.0)
    parser.add_argument("--restarts", type=int, default=10)
    parser.add_argument("--nothing-written", action="store_true", help="print only")
    given = parser.parse_args()
    found = measure(given.setup, given.requests, given.rate, given.restarts)
    print(json.dumps(found, indent=1))
    if not given.nothing_written:
        known = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
        known[given.setup] = found
        RECORD.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 1 if given.setup == "ours" and found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
