"""Runs locust, a load tester that many use, in a process of its own."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Reported:
    """What locust says of a run: how many requests, how many failed, and its histogram {milliseconds: requests}."""

    count: int
    failed: int
    times: dict[float, int]

    def quantile(self, share: float) -> float:
        """Seconds that this share of the requests did not exceed, as locust counts them: from the actual send."""
        known = sorted(self.times.items())
        reached = np.cumsum([number for _, number in known])
        place = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-9)))
        return known[min(place, len(known) - 1)][0] / 1e3


def run(url: str, clients: int, seconds: float, rate: float) -> Reported:
    """So many users, who together ask ``rate`` times a second and wait for their answers.

    Raises RuntimeError if locust fails.
    """
    parts = urlsplit(url)
    script = Path(__file__).with_name("locust_user.py")
    command = [sys.executable, "-m", "locust", "-f", str(script), "--headless", "--json", "--skip-log"]
    command += ["--users", str(clients), "--spawn-rate", "100", "--run-time", f"{seconds:g}s"]
    command += ["--host", f"{parts.scheme}://{parts.netloc}", "--exit-code-on-error", "0"]
    environment = {**os.environ, "PACE": str(rate / clients), "ASKED": parts.path or "/"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    try:
        entry = json.loads(done.stdout)[0]
    except (ValueError, IndexError):
        raise RuntimeError(f"locust gave no numbers: {(done.stderr or done.stdout).strip()[-500:]}") from None
    times = {float(ms): number for ms, number in entry["response_times"].items()}
    return Reported(entry["num_requests"], entry["num_failures"], times)
