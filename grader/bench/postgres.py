"""A large class graded into PostgreSQL, whose server is killed in the middle and started again.

    python -m grader.bench.postgres [--submissions 5000] [--runner local] [--kills 1] [--json FILE]

The submissions are the very short ones of `grader.bench.slurm`, so that what they cost is what is around them. The
server is killed (SIGKILL) when an equal share of the class is in the gradebook each time, and started again at once;
grading is started again when it has ended because of that. A submission that the gradebook held when its server died
must not run again, and none may be missing. With `--runner slurm` the class is graded on an emulated cluster.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from grader.bench import kills, slurm, slurm_class
from grader.bench.against_nbgrader import ASSIGNMENT
from grader.bench.cluster import Cluster
from grader.bench.cluster import missing as cluster_lacks
from grader.steps.release import release

USER = "postgres"
PATIENCE = 300  # seconds for a server's start and end, only to end what hangs

# --- a server -------------------------------------------------------------------------------------------------


class Server:
    """A PostgreSQL server that listens on a socket in its own folder only, and runs from its making on."""

    def __init__(self, binaries: Path, folder: Path):
        self.binaries, self.folder = binaries, folder
        self.url = f"postgresql+psycopg://{USER}@/postgres?host={folder}"
        # The server refuses to run as root.
        self.user = {"user": USER, "group": USER} if os.geteuid() == 0 else {}
        self._run("initdb", "-D", str(folder / "data"), "-U", USER, "-A", "trust", "--no-sync")
        self.start()

    def _run(self, name: str, *arguments: str, **settings: Any) -> None:
        command = [str(self.binaries / name), *arguments]
        settings |= self.user | {"stdout": subprocess.DEVNULL, "cwd": self.folder}
        subprocess.run(command, check=True, **settings)

    def start(self) -> None:
        """Start it, as soon as the helpers of one that was killed are gone, and wait until it answers.

        Raises TimeoutError where it does not within `PATIENCE` seconds.
        """
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        start = ["pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-l", log, "-w", "start"]
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run(*start, stderr=subprocess.DEVNULL)  # that one is still there, again and again
                break
            time.sleep(0.1)
        engine = create_engine(self.url)
        try:
            while time.monotonic() < end:
                with contextlib.suppress(OperationalError), engine.connect() as connection:
                    connection.execute(text("select 1"))
                    return
                time.sleep(0.1)
        finally:
            engine.dispose()
        raise TimeoutError(f"PostgreSQL does not start; {log} says why")

    def kill(self) -> None:
        """Kill the server; its helpers notice in a moment, and until then no other can start."""
        pid = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
            time.sleep(0.05)

    def stop(self) -> None:
        """End it without ceremony: its data are thrown away."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "stop")


def lacks() -> str:
    """Return a sentence on what this machine needs for `running`; empty where it has all of it."""
    if not importlib.util.find_spec("psycopg"):
        return "the driver is not installed: pip install -r requirements-server.txt"
    return "" if _initdb() else "no PostgreSQL server on this machine: apt-get install postgresql"


def _initdb() -> str | None:
    found = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    return found[-1] if found else shutil.which("initdb")


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Yield a server of one's own, thrown away afterwards. Raises RuntimeError with what `lacks` says."""
    if told := lacks():
        raise RuntimeError(told)
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER, USER)
        server = Server(Path(str(_initdb())).parent, folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def move_in(root: Path, server: Server) -> None:
    """Let the course at `root` keep its gradebook in the server, from its release on."""
    config = root / "nbgrader_config.py"
    config.write_text(config.read_text() + f"\nc.CourseDirectory.db_url = '{server.url}'\n")
    (root / "gradebook.db").unlink(missing_ok=True)
    release(root, ASSIGNMENT)


# --- a class --------------------------------------------------------------------------------------------------


@dataclass
class Found:
    """What came of a class whose database was killed."""

    submissions: int
    seconds: float  # of all runs together
    examiner_mib: float  # largest resident memory of the grader's own process
    starts: int  # of the grader
    kills: int
    twice: int  # ran again though the gradebook held them
    missing: int  # not in the gradebook at the end
    again: float  # seconds of a run in which nothing had changed


def disturb(root: Path, server: Server, submissions: int, count: int, runner: str) -> Found:
    """Grade the class at `root` while its database is killed `count` times.

    Raises RuntimeError where the grader ends in an error before that, or in one that is not about the gradebook.
    """
    held: dict[str, int] = {}  # student -> how often it had run when its result was in the gradebook
    started, starts, killed, most = time.perf_counter(), 0, 0, 0.0
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("graded", total=submissions)
        while True:
            grading = slurm.run(root, runner, 2)
            starts += 1
            process = psutil.Process(grading.pid)
            while grading.poll() is None:
                time.sleep(1)
                with contextlib.suppress(psutil.NoSuchProcess):
                    most = max(most, process.memory_info().rss / (1 << 20))
                there = kills.in_gradebook(root)
                progress.update(bar, completed=len(there))
                if killed < count and len(there) >= submissions * (killed + 1) / (count + 1):
                    server.kill()
                    server.start()
                    # A result may come between the last look and the kill: what it holds now, it held then.
                    held |= {student: kills.runs(root, student) for student in kills.in_gradebook(root)}
                    killed += 1
            if not grading.returncode:
                break
            told = slurm.output(root).read_text()
            if starts > killed or "cannot be written" not in told:
                raise RuntimeError(f"grader grade ended with {grading.returncode}:\n{told[-3000:]}")
    seconds = time.perf_counter() - started
    twice = sum(kills.runs(root, student) > times for student, times in held.items())
    absent = submissions - len(kills.in_gradebook(root))
    return Found(submissions, seconds, most, starts, killed, twice, absent, slurm.timed(root, runner, 2))


def main() -> None:
    """Print the table; end with 1 where something was lost or ran twice."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--submissions", type=int, default=5000)
    parser.add_argument("--runner", choices=["local", "slurm"], default="local")
    parser.add_argument("--kills", type=int, default=1, help="of the database's server")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    if options.submissions < 1 or options.kills < 0:
        parser.error("--submissions needs 1 or more, 5000 for example, and --kills 0 or more")
    if told := lacks() or (options.runner == "slurm" and cluster_lacks()):
        sys.exit(told)
    with tempfile.TemporaryDirectory() as folder, running() as server:
        root = Path(folder) / "course"
        slurm_class.build(root, options.submissions, at_once=2)
        move_in(root, server)
        cluster = Cluster(Path(folder) / "cluster", 2, cpus=1) if options.runner == "slurm" else None
        with cluster or contextlib.nullcontext():
            found = disturb(root, server, options.submissions, options.kills, options.runner)
    table = Table(title=f"{found.submissions} submissions, runner {options.runner}", title_justify="left")
    table.add_column("what")
    table.add_column("found", justify="right")
    for name, value in (
        ("whole, with all starts (s)", f"{found.seconds:.0f}"),
        ("each (s)", f"{found.seconds / found.submissions:.3f}"),
        ("once more, nothing changed (s)", f"{found.again:.1f}"),
        ("the grader's own process, at most (MiB)", f"{found.examiner_mib:.0f}"),
        ("kills of PostgreSQL", str(found.kills)),
        ("starts of the grader", str(found.starts)),
        ("ran again though the gradebook held them", str(found.twice)),
        ("missing in the gradebook", str(found.missing)),
    ):
        table.add_row(name, value)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1) + "\n")
    sys.exit(1 if found.twice or found.missing or found.kills < options.kills else 0)


if __name__ == "__main__":
    main()
