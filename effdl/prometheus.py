"""A real Prometheus, started, asked and stopped by the page that shows it; and any other program, the same way.

    with prometheus({"digits": ["127.0.0.1:8000"]}, rules) as watch:
        watch.wait("up == 1")
        watch.query("sum(rate(http_requests_total[5s]))")

Every process is a child of this one, listens on loopback at a port that the kernel chose, and ends with its `with`.
"""

import contextlib
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from effdl.data import cache_folder
from effdl.processes import end

DEADLINE = 60.0  # seconds for a start, or for what a page waits for: only a hang is longer
PATIENCE = 5.0  # seconds from SIGTERM to SIGKILL


def installed() -> bool:
    """Whether this machine has a Prometheus."""
    return shutil.which("prometheus") is not None


def get(url: str, timeout: float = 10.0) -> bytes:
    """The body of an answer. Raises OSError (also for a status of 400 and more)."""
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.read()


def until(ready: Callable[[], Any], what: str, deadline: float = DEADLINE, every: float = 0.05) -> Any:
    """What `ready` returns once it is true. OSError counts as not yet. Raises TimeoutError after the deadline."""
    end = time.monotonic() + deadline
    while True:
        with contextlib.suppress(OSError):
            if found := ready():
                return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {deadline:.0f} s")
        time.sleep(every)


@contextlib.contextmanager
def process(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A program that is ended with the block: see `effdl.processes.end`."""
    child = subprocess.Popen(command, **options)
    try:
        yield child
    finally:
        end(child, PATIENCE)


def port_of(child: subprocess.Popen, deadline: float = DEADLINE) -> int:
    """The port at which a program listens that was told port 0. Raises RuntimeError if it ends before it listens."""
    name = child.args[0] if isinstance(child.args, list | tuple) else child.args

    def listening() -> int | None:
        if child.poll() is not None:
            raise RuntimeError(f"{name} ended with {child.returncode} before it listened")
        sockets = psutil.Process(child.pid).net_connections("tcp")
        return next((s.laddr.port for s in sockets if s.status == psutil.CONN_LISTEN), None)

    return until(listening, f"{name} listens", deadline)


Labels = dict[str, str]


class Prometheus:
    """A Prometheus that runs; its answers as Python values."""

    def __init__(self, address: str):
        self.address = address

    def _ask(self, path: str, **words: Any) -> Any:
        query = urllib.parse.urlencode(words)
        try:
            return json.loads(get(f"{self.address}/api/v1/{path}?{query}"))["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read()).get("error", str(error))) from None

    def query(self, expression: str) -> list[tuple[Labels, float]]:
        """The value of an expression now: labels and number of each series. Raises ValueError for bad PromQL."""
        result = self._ask("query", query=expression)
        if result["resultType"] == "scalar":
            return [({}, float(result["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in result["result"]]

    def value(self, expression: str) -> float:
        """The one number of an expression. Raises ValueError where it has no series or several."""
        found = self.query(expression)
        if len(found) != 1:
            raise ValueError(f"{expression} has {len(found)} series here, not one")
        return found[0][1]

    def series(self, expression: str, seconds: float, step: float = 0.5) -> list[tuple[Labels, list, list]]:
        """The last `seconds` of an expression: labels, Unix times and values of each series."""
        now = time.time()
        found = self._ask("query_range", query=expression, start=now - seconds, end=now, step=step)["result"]
        return [
            (one["metric"], [moment for moment, _ in one["values"]], [float(v) for _, v in one["values"]])
            for one in found
        ]

    def alerts(self) -> dict[str, str]:
        """Alerts that are pending or firing, by name."""
        return {a["labels"]["alertname"]: a["state"] for a in self._ask("alerts")["alerts"]}

    def wait(self, expression: str, deadline: float = DEADLINE) -> list[tuple[Labels, float]]:
        """What an expression gives once it gives something. Raises TimeoutError."""
        return until(lambda: self.query(expression), expression, deadline)


@contextlib.contextmanager
def prometheus(
    targets: Mapping[str, Sequence[str]], rules: str = "", every: float = 0.5, port: int = 0
) -> Iterator[Prometheus]:
    """Prometheus, with its history in a temporary folder.

    Args:
        targets: addresses (host:port) to scrape, by the name of the job.
        rules: alerting rules, in YAML.
        every: seconds between two scrapes, and two evaluations of the rules. Production takes 15 to 60.
    """
    interval = f"{every * 1000:.0f}ms"
    jobs = [
        {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
        for job, addresses in targets.items()
    ]
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": jobs,
        "rule_files": ["rules.yml"] if rules else [],
    }
    cache_folder().mkdir(parents=True, exist_ok=True)  # on a disk: a /tmp in memory may be small
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="prometheus-") as folder:
        Path(folder, "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML too
        Path(folder, "rules.yml").write_text(rules, encoding="utf-8")
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/history",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        with process(command, cwd=folder) as child:
            found = Prometheus(f"http://127.0.0.1:{port_of(child)}")
            until(lambda: get(f"{found.address}/-/ready"), "Prometheus is ready")
            yield found
