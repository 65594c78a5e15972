"""Trackers whose program is killed: what had been logged, and what can be read afterwards.

A child logs one number a step, says so on a pipe after each call has returned, and gets SIGKILL in the middle. What
was said is *acknowledged*: a program that is told so may rely on it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from week09_experiment_tracking import children, trackers
from week09_experiment_tracking.tracker import Run, read

PACE = 0.001  # seconds from one call to the next: a short step of training


def log_for_ever(way: str, folder: str) -> None:
    """Log until somebody ends this process; a step on the standard output after each call."""
    acknowledge = os.dup(1)
    os.dup2(2, 1)
    place = Path(folder)

    def forever(log: Callable[[int, float], object]) -> None:
        step = 0
        while True:
            log(step, 1 / (step + 1))
            os.write(acknowledge, f"{step}\n".encode())
            step += 1
            time.sleep(PACE)

    if way == "a line, one write":
        run = Run(place, {}, name="run")
        forever(lambda step, value: run.log(step, loss=value))
    elif way == "a line, print to a file":
        place.mkdir(parents=True)
        with open(place / "log.jsonl", "w") as file:
            forever(lambda step, value: print(json.dumps([step, 0, {"loss": value}]), file=file))
    elif way == "all of it at the end":
        kept: list[tuple[int, float]] = []
        forever(lambda step, value: kept.append((step, value)))
    else:
        place.mkdir(parents=True)
        with trackers.begin(way, place, {}) as run:
            forever(lambda step, value: run.log(step, loss=value))


def steps_read(way: str, folder: Path) -> list[int]:
    """The steps that can be read back, in order."""
    if way == "all of it at the end":
        return []
    if way in trackers.BEGIN:
        return [step for step, _ in trackers.read(way, folder).metrics.get("loss", [])]
    if way == "a line, print to a file":
        (folder / "run.json").write_text("{}")
        return [step for step, _ in read(folder).metrics.get("loss", [])]
    return [step for step, _ in read(folder / "run").metrics.get("loss", [])]


def killed(way: str, folder: str, after: int) -> dict[str, int]:
    """Kill such a program when it has said `after` steps: how many were acknowledged, and how many can be read."""
    command = [sys.executable, "-m", "week09_experiment_tracking.killed", way, folder]
    errors = tempfile.TemporaryFile()  # noqa: SIM115 (the child's, to the end of this function)
    child = subprocess.Popen(command, env=children.environment(), stdout=subprocess.PIPE, stderr=errors)
    said = 0
    for _ in child.stdout:
        said += 1
        if said == after:
            break
    child.kill()
    said += len(child.stdout.read().splitlines())
    child.wait()
    if said < after:
        errors.seek(0)
        raise RuntimeError(f"{way}: {errors.read().decode(errors='replace')[-500:]}")
    errors.close()
    if way == "wandb":
        _settled(Path(folder))
    steps = steps_read(way, Path(folder))
    return {"acknowledged": said, "read": len(steps), "in order": int(steps == list(range(len(steps))))}


def _settled(folder: Path, seconds: float = 10) -> None:
    """Wait until W&B's own process, which outlives ours, has written nothing for a while."""

    def size() -> int:
        return sum(file.stat().st_size for file in folder.rglob("*.wandb"))

    end, last, since = time.monotonic() + seconds, -1, time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < 1.5:
        if size() != last:
            last, since = size(), time.monotonic()
        time.sleep(0.1)


WAYS = ("a line, one write", "a line, print to a file", "all of it at the end", "wandb", "mlflow")


def all_killed(folder: Path, after: int) -> dict[str, dict[str, int]]:
    """Every way, side by side: nothing here measures time."""
    with ThreadPoolExecutor() as pool:
        running = {way: pool.submit(killed, way, str(folder / f"killed {way}"), after) for way in WAYS}
        return {way: future.result() for way, future in running.items()}


if __name__ == "__main__":
    log_for_ever(*sys.argv[1:])
