"""Runs what a reader writes in the seminar inside the slow script, and counts what it does there.

Each trial takes the reader's function and returns one that answers a question, for `check_exercise`.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from week05_fast_pipelines import cures, slow_training
from week05_fast_pipelines.slow_training import Parts, Result, handbook, train

STRANGE = "naïve Ω, tab\t, \u2028 and 語.".ljust(slow_training.LENGTH + 1)


class Operations(TorchDispatchMode):
    """Counts the operations that run in the block, by name, and the bytes of the tensors that they make."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function._schema.name
        if name.startswith("profiler::"):  # PyTorch's own marks around an optimizer's step
            return result
        self.names.append(name)
        # Only what is copied: an empty tensor and a view cost nothing, a copy into one writes its source's bytes.
        if name in ("aten::cat", "aten::stack", "aten::clone", "aten::copy_", "aten::_to_copy"):
            self.bytes += result.nbytes
        return result

    def count(self, *names: str) -> int:
        """How many operations of these names ran."""
        return sum(name in names for name in self.names)


def with_part(**parts: Any) -> Result:
    """A pass of the script over 40 chunks with the right index and with these parts."""
    return train(replace(cures.cured("wrong index"), **parts), handbook(40))


@functools.cache
def usual() -> Result:
    """The same without a part exchanged."""
    return with_part()


def loss_apart(**parts: Any) -> float:
    """The largest difference between the losses of the script with these parts and without; 0 below 1e-4."""
    return _zero_below(1e-4, loss_difference(**parts))


def loss_difference(**parts: Any) -> float:
    """The largest difference between the losses of the script with these parts and without."""
    pairs = zip(usual().losses, with_part(**parts).losses, strict=True)
    return max(abs(a - b) for a, b in pairs)


def _zero_below(bound: float, *values: float) -> float:
    return 0.0 if max(values) < bound else max(values)


def batches(function: Callable) -> Callable[[int, int], Any]:
    """`function(chunks, size)`: how often each chunk of so many is seen, in batches of this size."""

    def answer(count: int, size: int) -> list[int]:
        chunks = [str(number) for number in range(count)]
        seen = [chunk for batch in function(chunks, size) for chunk in batch]
        return [seen.count(chunk) for chunk in chunks]

    return answer


def reader(function: Callable) -> Callable[[str], Any]:
    """`function(texts)`: "numbers": are they those of the slow one, for strange characters too? "losses" differ by;
    "operations": at most ten for a batch?
    """

    def answer(question: str) -> Any:
        if question == "losses":
            return loss_apart(read=function)
        texts = [*handbook(7), STRANGE]
        if question == "numbers":
            found = function(texts)
            return found.dtype == torch.int64 and bool(torch.equal(found, slow_training.read(texts)))
        with Operations() as operations:
            function(texts)
        return len(operations.names) <= 10

    return answer


def logger(function: Callable) -> Callable[[str], Any]:
    """`function(path)` returns (write, close): "lines" after close; "waits" for the disk in 100 entries: at most two?
    "losses" differ by.
    """

    class Log:
        def __init__(self, path: Path):
            self.write, self.close = function(path)

    def answer(question: str) -> Any:
        if question == "losses":
            return loss_apart(log=Log)
        waits, fsync = [], os.fsync
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(os, "fsync", lambda file: waits.append(file) or fsync(file)),
        ):
            path = Path(folder) / "log.jsonl"
            log = Log(path)
            for step in range(100):
                log.write({"step": step})
            log.close()
            if question == "waits":
                return len(waits) <= 2
            return sum(json.loads(line)["step"] == number for number, line in enumerate(path.open()))

    return answer


def stepper(function: Callable) -> Callable[[str], Any]:
    """`function(parameters, gradients, means, squares, steps, rate)` changes lists in place: "losses" differ by;
    "operations" of a step with 100 parameters: at most thirty?
    """

    class Adam(slow_training.Adam):
        @torch.no_grad()
        def step(self) -> None:
            self.steps += 1
            gradients = [p.grad for p in self.parameters]
            function(self.parameters, gradients, self.means, self.squares, self.steps, self.rate)

    def answer(question: str) -> Any:
        if question == "losses":
            return loss_apart(optimizer=Adam)
        parameters = [torch.nn.Parameter(torch.ones(8)) for _ in range(100)]
        for p in parameters:
            p.grad = torch.ones(8)
        optimizer = Adam(parameters, 1e-3)
        with Operations() as operations:
            optimizer.step()
        return len(operations.names) <= 30

    return answer


def checker(function: Callable) -> Callable[[str], Any]:
    """`function(gradients)`: the "norm" differs by; what "inf" and "nan" raise; "items" fetched: at most one?"""

    def answer(question: str) -> Any:
        torch.manual_seed(1)
        gradients = [torch.randn(30, 20) for _ in range(50)]
        if question in ("inf", "nan"):
            gradients[17][3, 4] = float(question)
            try:
                function(gradients)
            except FloatingPointError:
                return "FloatingPointError"
            return "nothing raised"
        if question == "norm":
            return _zero_below(1e-3, abs(function(gradients) - slow_training.norm(gradients)))
        with Operations() as operations:
            function(gradients)
        return operations.count("aten::_local_scalar_dense", "aten::item") <= 1

    return answer


def placer(function: Callable) -> Callable[[str], Any]:
    """`function(length, width)`: the "type" of what it returns; "values" and "losses" differ by."""

    def answer(question: str) -> Any:
        if question == "losses":
            return loss_apart(positions=function)
        found = function(48, 32)
        if question == "type":
            return str(found.dtype)
        return _zero_below(1e-5, float((found - slow_training.positions(48, 32)).abs().max()))

    return answer


def attender(function: Callable) -> Callable[[str], Any]:
    """`function(q, k, v, heads)`: "losses" and "gradients" differ by; "copies" in a forward pass: at most one?"""

    def run(attention: Callable) -> list[torch.Tensor]:
        torch.manual_seed(2)
        given = [torch.randn(3, 10, 24, requires_grad=True) for _ in range(3)]
        result = attention(*given, 4)
        (result * torch.randn(3, 10, 24)).sum().backward()
        return [result.detach(), *(x.grad for x in given)]

    def answer(question: str) -> Any:
        if question == "losses":
            return loss_apart(attention=function)
        if question == "gradients":
            pairs = zip(run(function), run(slow_training.attention), strict=True)
            return _zero_below(1e-4, *(float((a - b).abs().max()) for a, b in pairs))
        with torch.no_grad(), Operations() as operations:
            function(*(torch.randn(3, 10, 24) for _ in range(3)), 4)
        return operations.count("aten::clone", "aten::copy_", "aten::cat") <= 1

    return answer


def keeper(function: Callable) -> Callable[[str], Any]:
    """`function(batches)` returns (add, all): "the same" vector as the slow one's, without a graph? "copied": at most
    twice the bytes that are kept, for 40 batches?
    """

    class History:
        def __init__(self, count: int):
            self.add, self.all = function(count)

    def answer(question: str) -> Any:
        if question == "the same":
            found = with_part(history=History).history
            return bool(torch.equal(found, usual().history)) and not found.requires_grad
        history = History(40)
        batch = torch.ones(8, 32, 100)
        with Operations() as operations:
            for _ in range(40):
                history.add(batch)
            kept = history.all()
        return bool(operations.bytes <= 2.1 * kept.nbytes and kept.numel() == 40 * batch.numel())

    return answer


def copied_by_history(part: Callable[[int], Any], count: int) -> float:
    """Bytes that a history copies for so many batches, in multiples of what it keeps in the end."""
    history, batch = part(count), torch.ones(8, 32, 100)
    with Operations() as operations:
        for _ in range(count):
            history.add(batch)
        kept = history.all()
    return operations.bytes / kept.nbytes


KILLED = """
import os, signal, sys
file = open(sys.argv[1], "w")
for step in range(50):
    file.write(f"{step}\\n")
    if sys.argv[2] != "buffer":
        file.flush()
    if sys.argv[2] == "fsync":
        os.fsync(file.fileno())
os.kill(os.getpid(), signal.SIGKILL)
"""


def lines_after_a_kill(way: str) -> int:
    """Lines of a log of fifty that are in the file when its process was killed, by "fsync", "flush" or "buffer"."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        subprocess.run([sys.executable, "-c", KILLED, str(path), way], check=False)
        return len(path.read_text().splitlines())


def parts_of_mine(**parts: Any) -> Parts:
    """The slow script with these parts in place of its own."""
    return replace(slow_training.SLOW, **parts)
