"""Checkpoints that are whole or not there, and what SIGKILL does to those that are not written so."""

import io
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from week09_experiment_tracking.children import Fork
from week09_experiment_tracking.tracker import write_whole
from week09_experiment_tracking.training import Training

FORGOTTEN = ("optimizer", "schedule", "torch generator", "numpy generator", "python generator", "data order")


def save(state: dict[str, Any], file: Path) -> None:
    """Write a checkpoint beside its place, force it to the disk, rename: the old one is there until then."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(file, buffer.getvalue())


def save_in_place(state: dict[str, Any], file: Path) -> None:
    """What most scripts do: open the old checkpoint, and write the new one over it."""
    torch.save(state, file)


def load(file: Path) -> dict[str, Any]:
    """A checkpoint, with nothing in it but tensors, numbers, texts, lists and dicts."""
    return torch.load(file, weights_only=True)


def _train(file: str, steps: int, every: int, without: str, pipe: int) -> None:
    """Train to the end, from the checkpoint if there is one; say every step, and at last what came out."""
    training = Training()
    if Path(file).exists():
        training.load(load(Path(file)), without)
    while training.steps < steps:
        training.step()
        if every and training.steps % every == 0:
            save(training.state(), Path(file))
        os.write(pipe, f"{training.steps}\n".encode())
    found = {"digest": training.digest(), "losses": training.losses, "net": training.net.state_dict()}
    torch.save(found, f"{file}.end")


def resumed(folder: str, steps: int = 100, kill_after: int = 55, every: int = 20) -> dict[str, Any]:
    """One run without a stop; one that is killed, and then resumed: with everything, and with one omission each.

    Returns for each omission ("" for none) whether all bits of weights, optimizer and losses are those of the
    uninterrupted run, the first step with another loss (0 for none), and the relative distance of the weights.
    """
    torch.set_num_threads(1)
    Training()  # what it imports, each fork then has; no backward pass, after which PyTorch refuses one in a fork
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)

    def run(name: str, without: str = "", kill: int = 0) -> tuple[int, dict[str, Any]]:
        saves = every if kill else 0
        child = Fork(lambda pipe: _train(str(place / name), steps, saves, without, pipe))
        while kill and int(child.line()) < kill:
            pass
        if kill:
            child.kill()
        status, _ = child.end()
        end = place / f"{name}.end"
        return status, torch.load(end) if end.exists() else {}

    _, whole = run("whole")
    status, nothing = run("killed", kill=kill_after)
    found: dict[str, Any] = {
        "status": status,
        "finished": bool(nothing),
        "step": load(place / "killed")["log"]["steps"],
    }
    for without in ("", *FORGOTTEN):
        name = f"resumed {without}"
        (place / name).write_bytes((place / "killed").read_bytes())
        _, again = run(name, without)
        pairs = list(zip(whole["losses"], again["losses"], strict=True))
        one, two = (torch.cat([w.reshape(-1) for w in end["net"].values()]) for end in (whole, again))
        found[without] = {
            "equal": again["digest"] == whole["digest"] and again["losses"] == whole["losses"],
            "first other loss": next((i + 1 for i, (a, b) in enumerate(pairs) if a != b), 0),
            "distance": float((one - two).norm() / one.norm()),
            "losses": again["losses"],
        }
    found["whole"] = whole["losses"]
    return found


def _write_for_ever(write: Callable[[dict, Path], None], file: Path, pipe: int) -> None:
    number = 0
    while True:
        number += 1
        state = {"number": number, "weights": torch.full((1_000_000,), float(number))}
        os.write(pipe, b"begin\n")
        write(state, file)
        os.write(pipe, b"done\n")


def killed_while_writing(folder: str, times: int = 20, seed: int = 0) -> dict[str, dict[str, int]]:
    """SIGKILL in the middle of a write of 4 MB, so many times for each way: what is there afterwards.

    Counts `good` (it loads, and all its numbers are of one version), `torn` (it does not load) and `lost` versions:
    whose save had returned and which are not there, nor a later one.
    """
    torch.set_num_threads(1)
    rng, found = random.Random(seed), {}
    for name, write in (("beside, then renamed", save), ("in place", save_in_place)):
        found[name] = {"good": 0, "torn": 0, "lost": 0}
        file = Path(folder) / f"{name}.pt"
        file.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(times):
            file.unlink(missing_ok=True)
            child = Fork(lambda pipe, write=write, file=file: _write_for_ever(write, file, pipe))
            for _ in range(2):  # two whole versions, to learn how long one takes
                child.line()
                began = time.perf_counter()
                child.line()
            took = time.perf_counter() - began
            child.line()
            time.sleep(rng.uniform(0.1, 0.9) * took)
            child.kill()
            _, rest = child.end()
            returned = 2 + rest.count(b"done")
            try:
                state = load(file)
                good = bool((state["weights"] == state["number"]).all())
            except Exception:  # any way in which a torn file does not load
                good, state = False, {"number": 0}
            found[name]["good" if good else "torn"] += 1
            found[name]["lost"] += good and state["number"] < returned
    return found
