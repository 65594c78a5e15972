"""Where a command and all processes that it starts spend their time, sampled by py-spy from outside."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

RATE = 100  # samples a second
SHOWN = 15  # lines of each list
_PROCESS = re.compile(r'process (\d+):"?(.*?)"?$')


def profile(command: Sequence[str], root: Path) -> list[str]:
    """Run a command in `root` and return lines of text on it: the seconds of each process, and of functions in them.

    Only what runs is sampled, not what waits. Raises RuntimeError where py-spy may not look at processes (it takes
    root, or ptrace of one's own).
    """
    with tempfile.TemporaryDirectory() as folder:
        samples = Path(folder) / "samples.txt"
        spy = (str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--format", "raw")
        options = ("--rate", str(RATE), "--output", str(samples), "--")
        done = subprocess.run([*spy, *options, *command], cwd=root, capture_output=True, text=True)
        if not samples.is_file():
            raise RuntimeError(f"py-spy found nothing:\n{done.stderr[-2000:]}")
        return summary(samples.read_text(encoding="utf-8"))


def summary(raw: str) -> list[str]:
    """Return lines on py-spy's raw samples: `frame;frame;...;frame COUNT`, the outermost frame first."""
    processes: Counter[str] = Counter()
    own: Counter[tuple[str, str]] = Counter()
    below: Counter[tuple[str, str]] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        who = _role(frames)
        frames = [frame for frame in frames if not frame.startswith(("process ", "thread "))]
        processes[who] += int(count)
        if frames:
            own[who, frames[-1]] += int(count)
        for frame in {frame for frame in frames if "grader/" in frame or "(grader" in frame}:
            below[who, frame] += int(count)
    lines = ["seconds of each kind of process:"]
    lines += [f"{count / RATE:8.2f}  {who}" for who, count in processes.most_common()]
    for title, found in (("in a function itself", own), ("in a function of ours and what it calls", below)):
        lines.append(f"seconds {title}:")
        lines += [f"{count / RATE:8.2f}  {who}: {name}" for (who, name), count in found.most_common(SHOWN)]
    return lines


def _role(frames: Sequence[str]) -> str:
    """Return what the innermost process of a stack does, by its command."""
    commands = [found[2] for frame in frames if (found := _PROCESS.match(frame))]
    command = commands[-1] if commands else ""
    for word, role in (
        ("zygote", "zygote and workers"),
        ("apart", "reader of notebooks"),
        ("grade", "grader"),
    ):
        if word in command:
            return role
    return command[:60] or "the command"
