"""Runs attacks against the checks of a small part, beside an honest neighbour, and looks for what came of it.

An attack is one of the student's modules: `TARGET` names which. `DESERVES` is what the honest part of its work
is worth (0 where it does none), `FILES` are more files that it hands in, and `HONEST = True` puts the course's
own solutions beside it as `honest.py`, so that an attack can answer rightly besides. `GROWS` bounds how
much the examiner may grow (MiB). `places.py` in its folder tells it what only an insider would know: where each
canary lies.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import socketserver
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from grader.course import Course, Part
from grader.examine.examiner import Examiner
from grader.examine.job import Job
from grader.examine.report import Report
from grader.notebooks import verdicts
from grader.sandbox.build import MIB, Limits
from grader.sandbox.packed import Packed
from grader.tests.attacks.corpus import HERE, Attack, Outcome
from grader.tests.attacks.watch import Canaries, Watch, files_left, groups_left, strays

MODULES = ("softmax", "meter", "sync", "words", "lean", "speed", "ramp", "service", "test_ledger")
_PATIENCE = (
    120.0  # seconds an attack may keep the examiner before that counts as harm; more on a slow machine
)
_VICTIM = """# {canary}
import time
SECRET = "{canary}"
def hold():
    return len(SECRET)
"""


class Ear:
    """Hears every byte that the examiner receives in one thread, and searches it for canaries."""

    def __init__(self, canaries: Canaries):
        self._canaries = canaries
        self._thread: int | None = None
        self._tails: dict[int, bytes] = {}
        self.heard: list[str] = []

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen to the sockets that the calling thread reads."""
        receive, receive_into = socket.socket.recv, socket.socket.recv_into
        self._thread = threading.get_ident()

        def recv(sock: socket.socket, *args: Any) -> bytes:
            data = receive(sock, *args)
            self._search(sock, data)
            return data

        def recv_into(sock: socket.socket, buffer: Any, *args: Any) -> int:
            count = receive_into(sock, buffer, *args)
            self._search(sock, memoryview(buffer)[:count])
            return count

        socket.socket.recv, socket.socket.recv_into = recv, recv_into
        try:
            yield
        finally:
            del socket.socket.recv, socket.socket.recv_into

    def _search(self, sock: socket.socket, data: bytes | memoryview) -> None:
        if threading.get_ident() != self._thread:
            return
        whole = self._tails.get(id(sock), b"") + bytes(data)
        self.heard += self._canaries.find(whole)
        self._tails[id(sock)] = whole[-self._canaries.tail :]


class Stage:
    """The course, the canaries, the listeners, a victim and a neighbour, all under one examiner."""

    def __init__(self, examiner: Examiner):
        self.examiner = examiner
        self.canaries, self.inputs = Canaries(), Canaries()
        self._stack = contextlib.ExitStack()
        self.slowdowns: dict[str, float] = {}  # of the neighbour, by attack
        self.reports: dict[str, Report] = {}  # what the instructor has, by attack

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attacks-")))
            self._part = self._write_course(self._folder / "course")
            self._neighbour = self._folder / "neighbour"
            self._hand_in(self._neighbour, {})
            self._plant(stack)
            self._job = self._start_victim(stack)
            # Threads that end jobs start with the first ones of a suite, and stay.
            self.examiner.examine(self._part, self._neighbour, names=["a_suite_kills_what_is_published"])
            # The first run of each check imports its file and fills caches, which is no attack's doing.
            quiet = [self._run_neighbour() for _ in range(4)][1:]
            self._quiet = statistics.median(seconds for _, seconds in quiet)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, attack: Attack) -> Outcome:
        """Examine one attack; the outcome says what it earned, heard and harmed."""
        target = attack.options["TARGET"]
        items = attack.options.get("ITEMS", [target])
        folder = self._folder / attack.name
        self._hand_in(folder, attack.options.get("FILES", {}))
        (folder / f"{target}.py").write_text(attack.path.read_text(encoding="utf-8"), encoding="utf-8")
        if attack.options.get("HONEST"):
            (folder / "honest.py").write_text(self._honest(), encoding="utf-8")
        (folder / "places.py").write_text(self._places(), encoding="utf-8")
        found: list[tuple[Report, float]] = []
        neighbour = threading.Thread(target=lambda: found.append(self._run_neighbour()))
        watch, ear = Watch(memory=attack.options.get("GROWS", 1024) * MIB), Ear(self.canaries)
        harm, broke = [], ""
        started = time.perf_counter()
        neighbour.start()
        report = Report([])
        try:
            with ear.listening():
                report = self.examiner.examine(self._part, folder, items=items)
        except Exception as error:  # whatever a submission does, the examiner must not raise
            broke = f"the examiner raised {type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        self.reports[attack.name] = report
        neighbour.join()
        report_, wall = found[0]
        self.slowdowns[attack.name] = wall / self._quiet
        if broke:
            harm.append(broke)
        if report_.total < sum(check.max_points for check in report_.checks):
            harm.append(f"the neighbour lost points: {'; '.join(check.why for check in report_.checks)}")
        if seconds > _PATIENCE * self.examiner.place.stretch:
            harm.append(f"the examiner was busy for {seconds:.0f} s")
        # Below 5 s, or more on a slow machine, nobody waits; above, twenty times what the neighbour takes alone is no
        # longer noise.
        if wall > max(5.0 * self.examiner.place.stretch, 20 * self._quiet):
            harm.append(f"the neighbour took {wall:.1f} s, {wall / self._quiet:.0f} times as long as alone")
        harm += self._settled(lambda: strays(self.examiner.place.zygote.pid, [self._job.leader.pid]))
        harm += self._settled(lambda: groups_left(expected=1)) + files_left() + self._settled(watch.harm)
        if self._job.closed[0]:
            harm.append("another student's worker was killed")
        errors = [check for check in report.checks if check.verdict == "error"]
        told = verdicts.as_text(report.checks)
        harm += [f"a check broke: {check.why}" for check in errors]
        try:
            told.encode()
            report.to_json().encode()
        except UnicodeEncodeError as error:
            harm.append(f"the report cannot be written: {error}")
        if any((ord(letter) < 32 and letter != "\n") or letter in "\u202e\u2066\x9b" for letter in told):
            harm.append("control characters reach the terminal of whoever reads the report")
        shutil.rmtree(folder)
        return Outcome(
            attack,
            earned=report.total,
            deserved=float(attack.options.get("DESERVES", 0)),
            leaked=sorted({*ear.heard, *self._reached(), *self.inputs.find(told), *self.canaries.find(told)}),
            harm=harm,
            told=told,
            noted=report.notes,
        )

    def victim_lives(self) -> bool:
        """Return whether the worker that waited through every attack still answers."""
        end = time.perf_counter() + 300
        self._job.send(0, {"args": [], "kwargs": {}, "in_place": False}, end)
        return self._job.wait(lambda: bool(self._job.inbox[0]), end)

    def _write_course(self, root: Path) -> Part:
        for source in sorted((HERE / "course").rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                text = source.read_text(encoding="utf-8")
                text = text.replace("@canary:solution@", self.canaries.plant("solution"))
                text = text.replace("@canary:hidden-check@", self.canaries.plant("hidden check"))
                text = text.replace("@canary:reference@", self.canaries.plant("reference"))
                text = text.replace("@input:hidden-input@", self.inputs.plant("hidden input"))
                target = root / source.relative_to(HERE / "course")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
        (root / "notes.txt").write_text(self.canaries.plant("course root"))
        for path in [self._folder, *self._folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return Course.load(root).assignment("lab").part(1)

    def _hand_in(self, folder: Path, files: dict[str, str]) -> None:
        folder.mkdir()
        for name in self._part.files:
            text = (HERE / "course" / "source" / "lab" / name).read_text(encoding="utf-8")
            (folder / name).write_text(text, encoding="utf-8")
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _honest(self) -> str:
        texts = []
        for name in MODULES:
            if name.startswith("test_"):
                continue  # a suite: it imports what only its own worker has
            path = HERE / "course" / "source" / "lab" / f"{name}.py"
            if path.exists():
                text = path.read_text(encoding="utf-8")
                texts.append(text.partition('"""\n')[2] if text.startswith('"""') else text)
        return "\n".join(texts)

    def _plant(self, stack: contextlib.ExitStack) -> None:
        os.environ["GRADER_CANARY"] = self.canaries.plant("environment")
        stack.callback(os.environ.pop, "GRADER_CANARY")
        self._kept = self.canaries.plant("examiner memory")
        other = self._folder / "submitted" / "another" / "softmax.py"
        other.parent.mkdir(parents=True)
        other.write_text(self.canaries.plant("another submission"))
        self._paths = [str(other), str(self._folder / "course" / "notes.txt")]
        for name in ("hidden", "solution"):
            place = self._part.checks_hidden if name == "hidden" else self._part.source / "softmax.py"
            self._paths.append(str(place))
        for folder in ("/tmp", "/dev/shm"):
            path = Path(folder) / f"attacks-{os.getpid()}.txt"
            path.write_text(self.canaries.plant(folder.strip("/").replace("/", "-")))
            path.chmod(0o644)
            stack.callback(path.unlink)
            self._paths.append(str(path))
        self._connections: list[str] = []
        self._abstract = f"attacks-{os.getpid()}"
        tcp = _Listener(("127.0.0.1", 0), self.canaries.plant("tcp port"), self._connections)
        unix = _UnixListener(f"\0{self._abstract}", self.canaries.plant("abstract socket"), self._connections)
        self._port = tcp.server_address[1]
        for server in (tcp, unix):
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)

    def _places(self) -> str:
        return (
            f"PATHS = {self._paths!r}\nPORT = {self._port}\nABSTRACT = {self._abstract!r}\n"
            f"EXAMINER = {os.getpid()}\nVICTIM = {self._job.leader.pid}\n"
        )

    def _start_victim(self, stack: contextlib.ExitStack) -> Job:
        folder = self._folder / "victim"
        folder.mkdir()
        (folder / "victim.py").write_text(_VICTIM.format(canary=self.canaries.plant("another worker")))
        packed = Packed(folder)
        stack.callback(packed.close)
        job = Job(self.examiner.place, packed, 1, Limits())
        stack.callback(job.close)
        end = time.perf_counter() + 300
        job.send(0, {"target": "victim:hold", "driver": None, "world": 1, "group": False}, end)
        if not job.wait(lambda: bool(job.inbox[0]), end) or job.inbox[0].pop(0) != {"ready": True}:
            raise RuntimeError("the victim's worker did not start")
        return job

    def _run_neighbour(self) -> tuple[Report, float]:
        started = time.perf_counter()
        report = self.examiner.examine(self._part, self._neighbour, items=["neighbour", "words"])
        return report, time.perf_counter() - started

    def _reached(self) -> list[str]:
        found = [f"reached {name}" for name in self._connections]
        self._connections.clear()
        return found

    def _settled(self, look: Callable[[], list[str]]) -> list[str]:
        """Return what `look` still finds after a moment: the kernel takes some time to bury processes."""
        end = time.perf_counter() + min(10, 2 * self.examiner.place.stretch)
        while (found := look()) and time.perf_counter() < end:
            time.sleep(0.05)
        return found


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.server.connections.append(self.server.what)
        with contextlib.suppress(OSError):
            self.request.sendall(self.server.answer.encode())


class _Listener(socketserver.TCPServer):
    """Answers everybody who reaches it with a canary, and remembers that somebody did."""

    def __init__(self, address: Any, answer: str, connections: list[str]):
        super().__init__(address, _Answer)
        self.answer, self.connections, self.what = answer, connections, type(self).__name__.strip("_")


class _UnixListener(_Listener):
    address_family = socket.AF_UNIX


def run(
    attacks: Sequence[Attack],
    *,
    examiner: Examiner | None = None,
    progress: Callable[[Outcome, float], None] | None = None,
) -> list[Outcome]:
    """Run the attacks one after the other; `progress` hears each outcome and its neighbour's slowdown."""
    with contextlib.ExitStack() as stack:
        if examiner is None:
            examiner = stack.enter_context(Examiner("namespaces"))
        stage = stack.enter_context(Stage(examiner))
        outcomes = []
        for attack in attacks:
            outcomes.append(stage.run(attack))
            if progress:
                progress(outcomes[-1], stage.slowdowns[attack.name])
        if not stage.victim_lives():
            outcomes[-1].harm.append("the worker that waited beside the attacks no longer answers")
    return outcomes
