"""A service of the course under a real Prometheus: both are started, asked and stopped here.

    with served() as service, prometheus({"digits": [service.address]}) as watch:
        watch.wait("up == 1")
        watch.query("sum(rate(http_requests_total[5s]))")

What starts and asks Prometheus is `effdl.prometheus`, whose names stand here too.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from effdl.prometheus import (
    DEADLINE,
    Labels,
    Prometheus,
    get,
    installed,
    port_of,
    process,
    prometheus,
    until,
)
from week06_deployment import images

__all__ = [
    "DEADLINE",
    "DEPLOY",
    "Labels",
    "Prometheus",
    "Served",
    "alerting",
    "get",
    "installed",
    "port_of",
    "process",
    "prometheus",
    "served",
    "until",
]

DEPLOY = Path(__file__).with_name("deploy")


@dataclass(frozen=True)
class Served:
    """A service that runs: its process, and host and port as Prometheus wants them."""

    child: subprocess.Popen
    address: str

    @property
    def url(self) -> str:
        """The address with its scheme."""
        return f"http://{self.address}"


@contextlib.contextmanager
def served(port: int = 0, faults: bool = True) -> Iterator[Served]:
    """The very app that the image holds, out of a folder of its own.

    Args:
        port: 0 lets the kernel choose.
        faults: whether it obeys the headers that plant delays and errors.
    """
    with tempfile.TemporaryDirectory(prefix="app-") as folder:
        app = images.context(Path(folder, "app"), ignore=True, bulk=False)
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
        environment = os.environ | {
            "FAULTS": str(int(faults)),
            "PYTHONPATH": str(app),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with process(command, cwd=app, env=environment) as child:
            service = Served(child, f"127.0.0.1:{port_of(child)}")
            until(lambda: get(f"{service.url}/readyz"), "the service is ready")
            yield service


def alerting(ratio: float = 0.05, window: str = "4s", hold: str = "2s") -> str:
    """The rules of deploy/alerts.yml for minutes, shortened to seconds so that a page can wait for them."""
    text = (DEPLOY / "alerts.yml").read_text(encoding="utf-8")
    for minutes, seconds in {
        "[5m]": f"[{window}]",
        "for: 1m": f"for: {hold}",
        "for: 2m": f"for: {hold}",
    }.items():
        text = text.replace(minutes, seconds)
    return text.replace("> 0.05", f"> {ratio}")
