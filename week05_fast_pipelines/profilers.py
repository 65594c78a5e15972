"""Profilers, each asked for one small table: cProfile, line_profiler, stacks of a running thread, py-spy,
torch.profiler with its trace, and what tracemalloc and PyTorch's allocator see.
"""

import collections
import cProfile
import json
import os
import pstats
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from effdl import memory

# The profiler's C++ library otherwise prints its own start and stop to standard error. Read once, at first use.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def calls(function: Callable[[], Any], most: int = 6, by: str = "tottime") -> list[list[str]]:
    """Rows of cProfile: function, calls, seconds in itself, seconds with what it calls; most expensive first."""
    profile = cProfile.Profile()
    profile.runcall(function)
    stats = pstats.Stats(profile).sort_stats(by)
    rows = []
    for place in stats.fcn_list[:most]:
        (file, _, name), (_, count, own, whole, _) = place, stats.stats[place]
        where = name if file == "~" else f"{Path(file).stem}.{name}"
        rows.append([where, f"{count:,}", f"{own:.3f}", f"{whole:.3f}"])
    return rows


def lines(function: Callable[[], Any], watched: Callable, most: int = 4) -> list[list[str]]:
    """Rows of line_profiler for one watched function: line, hits, share of the function's time."""
    from line_profiler import LineProfiler

    profiler = LineProfiler(watched)
    profiler.runcall(function)
    stats = profiler.get_stats()
    (file, _, _), timings = next(iter(stats.timings.items()))
    source = Path(file).read_text(encoding="utf-8").splitlines()
    total = max(sum(spent for _, _, spent in timings), 1)
    top = sorted(timings, key=lambda line: -line[2])[:most]
    return [[source[number - 1].strip(), f"{hits:,}", f"{spent / total:.0%}"] for number, hits, spent in top]


class Stacks:
    """Looks at the stack of the thread that opens the block, every few milliseconds.

    ``share(name)`` is then the share of the samples in which a function of that name was running, or one that it
    had called. A thread of the same process can only look when it gets Python's lock.
    """

    def __init__(self, every: float = 0.002):
        self.every, self.stacks, self.watched = every, collections.Counter(), threading.get_ident()
        self.over, self.thread = threading.Event(), threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self.over.wait(self.every):
            frame, names = sys._current_frames().get(self.watched), []
            while frame is not None:
                names.append(frame.f_code.co_name)
                frame = frame.f_back
            self.stacks[tuple(names)] += 1

    def __enter__(self) -> "Stacks":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    def share(self, name: str) -> float:
        """See the class; 0 without samples."""
        total = sum(self.stacks.values())
        return sum(n for names, n in self.stacks.items() if name in names) / max(total, 1)


def py_spy(*arguments: str, seconds: float = 20) -> tuple[str, str]:
    """What `py-spy ARGUMENTS` prints, and "" or the reason why it could not: (output, problem).

    It reads another process's memory, which Linux allows to the parent of a process or to root only (ptrace_scope
    1), and many containers and macOS to nobody without extra rights.
    """
    program = shutil.which(
        "py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if program is None:
        return "", "py-spy is not installed"
    try:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"py-spy did not end within {seconds:g} s"
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        return done.stdout, words[-1] if words else "no reason given"
    return done.stdout, ""


def operators(function: Callable[[], Any], shapes: bool = False) -> Any:
    """torch.profiler's events of one call, averaged by name: see `rows`."""
    return traced(function, shapes).key_averages()


def traced(function: Callable[[], Any], shapes: bool = False) -> Any:
    """torch.profiler's record of one call, on the CPU, and on a GPU where there is one.

    With `shapes` it also has shapes and types of inputs.
    """
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds, record_shapes=shapes, acc_events=True) as profile:
        function()
    return profile


def rows(averages: Any, most: int = 5) -> list[list[str]]:
    """Operators with the most time of their own: name, calls, share of all time in operators."""
    total = max(sum(event.self_cpu_time_total for event in averages), 1e-9)
    top = sorted(averages, key=lambda event: -event.self_cpu_time_total)[:most]
    return [[e.key, f"{e.count:,}", f"{e.self_cpu_time_total / total:.0%}"] for e in top]


def count(averages: Any, *names: str) -> int:
    """How often operators of these names ran."""
    return sum(event.count for event in averages if event.key in names)


def events(profile: Any) -> list[dict[str, Any]]:
    """The events of the trace that Perfetto loads, as JSON has them: name, ts and dur (microseconds), tid, args."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        loaded = json.loads(path.read_text(encoding="utf-8"))
    return [event for event in loaded["traceEvents"] if event.get("ph") == "X"]


def types(trace: Iterable[dict[str, Any]]) -> collections.Counter:
    """How many operators of a trace with shapes have a tensor of each floating-point type among their inputs."""
    kinds: collections.Counter = collections.Counter()
    for event in trace:
        given, shapes = (event.get("args", {}).get(what, []) for what in ("Input type", "Input Dims"))
        # A Python number beside a tensor is recorded as a double without dimensions.
        tensors = {kind for kind, shape in zip(given, shapes, strict=False) if shape}
        kinds.update(tensors & {"double", "float", "c10::BFloat16", "c10::Half"})
    return kinds


def overlapping(trace: Iterable[dict[str, Any]], slack: float = 1.0) -> int:
    """How many events of one thread begin inside another and end after it: a trace that is nested has none.

    Args:
        slack: microseconds by which an end may be late; clocks are rounded.
    """
    broken, by_thread = 0, collections.defaultdict(list)
    for event in trace:
        if event.get("cat") in ("cpu_op", "user_annotation"):
            by_thread[event["pid"], event["tid"]].append((event["ts"], -event["dur"]))
    for spans in by_thread.values():
        open_ends: list[float] = []
        for start, minus in sorted(spans):
            while open_ends and open_ends[-1] <= start + 1e-9:
                open_ends.pop()
            broken += bool(open_ends) and start - minus > open_ends[-1] + slack
            open_ends.append(start - minus)
    return broken


def allocated(function: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that one call keeps, by tracemalloc (Python, NumPy) and by PyTorch's allocator."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = function()
    by_python = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del kept
    return by_python, memory.measure(function).kept


# ---------------------------------------------------------------------------------------------------------------
# Something to look at
# ---------------------------------------------------------------------------------------------------------------


def add(a: float, b: float) -> float:
    """A call that does next to nothing."""
    return a + b


def by_calls(rounds: int = 60_000) -> float:
    """A sum by a call for each term."""
    total = 0.0
    for number in range(rounds):
        total = add(total, number)
    return total


def inline(rounds: int = 60_000) -> float:
    """The same sum without a call."""
    total = 0.0
    for number in range(rounds):
        total = total + number
    return total


def under_cprofile(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function with cProfile on."""
    return lambda: cProfile.Profile().runcall(function)


def under_line_profiler(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function with line_profiler on, watching it and nothing that it calls."""

    def run() -> None:
        from line_profiler import LineProfiler

        LineProfiler(function).runcall(function)

    return run


def under_samples(function: Callable[[], Any]) -> Callable[[], Any]:
    """The function while another thread samples the stack."""

    def run() -> None:
        with Stacks():
            function()

    return run


def most_of_it(seconds: float) -> None:
    """Work for so many seconds of this thread's processor time."""
    _work(seconds)


def rest_of_it(seconds: float) -> None:
    """Work for so many seconds of this thread's processor time."""
    _work(seconds)


def _work(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def three_to_one(seconds: float = 0.4) -> None:
    """Three quarters of the work in `most_of_it`, a quarter in `rest_of_it`, in turns."""
    for _ in range(10):
        most_of_it(0.075 * seconds)
        rest_of_it(0.025 * seconds)


HANGS = "import time\n\n\ndef waits_for_a_message():\n    time.sleep(60)\n\n\nwaits_for_a_message()\n"


def where_it_hangs() -> tuple[str, str]:
    """`py-spy dump` of another process that does not go on: (its stack, "" or why that was not possible)."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "hangs.py"
        script.write_text(HANGS, encoding="utf-8")
        process = subprocess.Popen([sys.executable, str(script)])
        try:
            for _ in range(20):
                time.sleep(0.1)
                found, problem = py_spy("dump", "--pid", str(process.pid))
                if problem or "waits_for_a_message" in found:
                    break
            plain = re.sub(r"\x1b\[[0-9;]*m", "", found).replace(folder + os.sep, "")
            lines = [line.strip() for line in plain.splitlines()]
            # Above them it names the command and the Python, which say nothing about where it stands.
            return "\n".join(
                line for line in lines if line.startswith("Thread") or "(hangs.py:" in line
            ), problem
        finally:
            process.kill()
            process.wait()


PLANTED = """import time


def work(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(200))


def most_of_it():
    work(0.03)


def rest_of_it():
    work(0.01)


while True:
    most_of_it()
    rest_of_it()
"""


def from_outside(seconds: int = 1) -> tuple[dict[str, float], str]:
    """`py-spy record` of another process with the same planted shares: (shares of its samples, "" or why not)."""
    with tempfile.TemporaryDirectory() as folder:
        script, output = Path(folder) / "planted.py", Path(folder) / "stacks.txt"
        script.write_text(PLANTED, encoding="utf-8")
        process = subprocess.Popen([sys.executable, str(script)])
        try:
            _, problem = py_spy(
                "record", "--pid", str(process.pid), "--duration", str(seconds), "--rate", "200",
                "--format", "raw", "--output", str(output), seconds=20 + seconds,
            )  # fmt: skip
        finally:
            process.kill()
            process.wait()
        text = output.read_text(encoding="utf-8") if output.exists() else ""
    # A line is one stack and how often it was seen: "<module> (planted.py:19);most_of_it (planted.py:11) 57".
    stacks = [line.rpartition(" ") for line in text.splitlines()]
    total = max(sum(int(count) for _, _, count in stacks), 1)
    names = ("most_of_it", "rest_of_it")
    return {name: sum(int(n) for stack, _, n in stacks if name in stack) / total for name in names}, problem
