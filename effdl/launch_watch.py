"""How `effdl.launch` follows a run: what the ranks print, which of them failed first, and where they stand."""

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time

import psutil
import torch.multiprocessing

from effdl.launch_job import (
    HEADER,
    LAUNCHER,
    OUTPUT_LIMIT,
    RAISED,
    RETURNED,
    STARTED,
    STDOUT,
    STREAMS,
    Job,
    LaunchError,
    Output,
)

START_LIMIT = 120.0  # seconds until every rank must be up; the deadline of the caller counts from then
SETTLE = 0.2  # seconds in which other ranks may still report, so that the first failure is named, not an echo
LAST_WORDS = 10.0  # seconds, at most, in which a rank may say where it stands, or the server that it has died


class Watch:
    """Follows the log and the processes of one job, which the caller puts into `processes` when they have started."""

    def __init__(self, job: Job, show: bool):
        self.job, self.show = job, show
        self.processes: list = []
        self.records: list[tuple[int, str, str]] = []
        self.started: set[int] = set()
        self.returned: set[int] = set()
        self.raised: dict[int, dict] = {}
        self._unread = b""
        self._offset = 0
        self._partial: dict[tuple[int, str], str] = {}

    def until_all_returned(self, deadline: float) -> None:
        """Wait until every rank has returned and left; raise LaunchError when one fails or time is up."""
        begin, limit = time.monotonic(), START_LIMIT
        counting = False
        while True:
            running = [p.sentinel for p in self.processes if p.is_alive()]
            multiprocessing.connection.wait(running, timeout=0.02)
            if self._died() or self.raised:
                self._fail()
            if not running:
                return
            if not counting and len(self.started) == self.job.ranks:
                counting, begin, limit = True, time.monotonic(), deadline
            if time.monotonic() - begin > limit:
                self._late(f"deadline of {deadline:g} s" if counting else f"start limit of {limit:g} s")

    def read(self) -> None:
        """Take in what the ranks appended to the log since the last call."""
        with open(self.job.folder / "log", "rb") as log:
            log.seek(self._offset)
            new = log.read()
        self._offset += len(new)
        data = self._unread + new
        while len(data) >= HEADER.size:
            rank, kind, length = HEADER.unpack_from(data)
            if len(data) < HEADER.size + length:
                break
            self._take(rank, kind, data[HEADER.size : HEADER.size + length].decode("utf-8", "replace"))
            data = data[HEADER.size + length :]
        self._unread = data

    def _take(self, rank: int, kind: int, text: str) -> None:
        if kind == STARTED:
            self.started.add(rank)
        elif kind == RETURNED:
            self.returned.add(rank)
        elif kind == RAISED:
            self.raised[rank] = json.loads(text)
        else:
            stream = "stdout" if kind == STDOUT else "stderr"
            self.records.append((rank, stream, text))
            if self.show:
                self._print(rank, stream, text)

    def _print(self, rank: int, stream: str, text: str) -> None:
        *lines, rest = (self._partial.get((rank, stream), "") + text).split("\n")
        self._partial[rank, stream] = rest
        for line in lines:
            print(f"[rank {rank}] {line}", file=getattr(sys, stream), flush=True)

    def output(self) -> Output:
        """All that was printed: the log, then what reached the file descriptors past Python."""
        records = list(self.records)
        for rank in range(self.job.ranks):
            for stream, number in STREAMS.items():
                path = self.job.folder / f"fd{number}-{rank}"
                text = path.read_text(errors="replace")[:OUTPUT_LIMIT] if path.exists() else ""
                if text:
                    records.append((rank, stream, text))
        return Output(records)

    def _died(self) -> dict[int, int]:
        """Exit status of every rank that left without a word: neither a value nor an exception."""
        gone = {rank: p.exitcode for rank, p in enumerate(self.processes) if p.exitcode is not None}
        # Only now: the last word of a rank that is gone stands in the log, and may have come since the last look.
        self.read()
        return {r: code for r, code in gone.items() if r not in self.returned and r not in self.raised}

    def _fail(self) -> None:
        """Raise LaunchError for the rank that failed first."""
        time.sleep(SETTLE)
        for process in self.processes:
            # On a busy machine the fork server may be late to say that a rank has died.
            if process.is_alive() and _has_ended(process.pid):
                process.join(LAST_WORDS)
        died, world = self._died(), self.job.ranks
        output = self.output()
        # When a rank dies, the others raise "connection closed by peer": a silent death is the cause.
        if died:
            rank = min(died)
            trace = self._native_traceback(rank)
            headline = f"rank {rank} of {world} died: {_status(died[rank])}"
        else:
            rank = min(self.raised, key=lambda r: self.raised[r]["time"])
            trace = self.raised[rank]["traceback"]
            headline = f"rank {rank} of {world} raised {self.raised[rank]['why']}"
        message = [headline, "", trace.rstrip()] if trace else [headline]
        printed = output.text(rank).splitlines()[-10:]
        if printed and not (rank in died and trace):
            message += ["", f"What rank {rank} printed last:", *(f"  {line}" for line in printed)]
        echoes: dict[str, list[int]] = {}
        for other in sorted({*self.raised, *died} - {rank}):
            why = self.raised[other]["why"].splitlines()[0] if other in self.raised else _status(died[other])
            echoes.setdefault(why[:160], []).append(other)
        if echoes:
            message += ["", "After it:", *(f"  {_names(group)}: {why}" for why, group in echoes.items())]
        raise LaunchError("\n".join(message), rank=rank, traceback=trace, output=output)

    def _native_traceback(self, rank: int) -> str:
        """What faulthandler wrote when a signal such as SIGSEGV ended the rank."""
        path = self.job.folder / f"fd2-{rank}"
        text = path.read_text(errors="replace") if path.exists() else ""
        _, found, trace = text.rpartition("Fatal Python error: ")
        return f"{found}{trace.splitlines()[0]}, innermost call first:\n{_frames(trace)}" if found else ""

    def _late(self, what: str) -> None:
        """Raise LaunchError with the place where every rank stands that has not returned."""
        late = [r for r, p in enumerate(self.processes) if p.is_alive()]
        asked = [r for r in late if r in self.started]
        for rank in asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.processes[rank].pid, signal.SIGUSR1)
        give_up = time.monotonic() + LAST_WORDS
        while not all(map(self._has_said, asked)) and time.monotonic() < give_up:
            time.sleep(0.01)
        waiting = [r for r in late if r in self.returned]
        busy = [r for r in late if r not in self.returned] or waiting
        message = [f"{what} passed: {_names(busy)} of {self.job.ranks} still running"]
        if busy is waiting:
            message[0] += " after returning (a child process or thread that was not ended?)"
        for rank in busy:
            message += ["", f"rank {rank} stands at (innermost call first):", self._stack(rank)]
        raise LaunchError("\n".join(message), output=self.output())

    def _has_said(self, rank: int) -> bool:
        """Whether a rank has written where its main thread stands, down to the server's command or 100 frames."""
        text = (self.job.folder / f"stack-{rank}").read_text(errors="replace")
        return '  File "<string>"' in text or "\n  ...\n" in text

    def _stack(self, rank: int) -> str:
        path = self.job.folder / f"stack-{rank}"
        unknown = "  (it did not say: it is outside Python, or it replaced the handler of SIGUSR1)"
        return (path.exists() and _frames(path.read_text(errors="replace"))) or unknown


def _has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for its parent to take note of its end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _frames(dump: str) -> str:
    """The lines of a faulthandler dump that name a place, less those of the launcher."""
    ours = (LAUNCHER, multiprocessing.__path__[0], torch.multiprocessing.__path__[0], "<string>")
    lines = [line for line in dump.splitlines() if line.startswith("  File ")]
    return "\n".join(line for line in lines if not any(f'"{place}' in line for place in ours))


def _names(ranks: list[int]) -> str:
    return ("rank " if len(ranks) == 1 else "ranks ") + ", ".join(map(str, ranks))


def _status(code: int) -> str:
    if code < 0:
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    return f"it left with status {code} before the function returned"
