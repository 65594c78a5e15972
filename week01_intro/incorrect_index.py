"""An index that is out of range, on an asynchronous device: which line does the traceback name?

``run()`` starts this file as a script, as you would in a terminal: ``python incorrect_index.py``, and again
with ``CUDA_LAUNCH_BLOCKING=1``. It uses the CUDA device if there is one, else the thread device.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch


def main() -> None:
    """Look up five rows of a table that has four, then go on as if nothing had happened."""
    from async_device import AsyncDevice

    device = AsyncDevice()
    place = "cuda" if torch.cuda.is_available() else "cpu"
    table = torch.ones(4, 8, device=place)
    index = torch.tensor([0, 1, 2, 3, 4], device=place)
    rows, total = torch.empty(5, 8, device=place), torch.zeros((), device=place)

    device.launch(rows.fill_, 1.0)
    device.launch(lookup, table, index, rows)
    device.launch(rows.mul_, 2.0)
    device.launch(add_up, rows, total)
    print("all four kernels launched", flush=True)
    device.synchronize()
    print("total:", total.item())


def lookup(table: torch.Tensor, index: torch.Tensor, rows: torch.Tensor) -> None:
    """rows[i] = table[index[i]]"""
    rows.copy_(torch.nn.functional.embedding(index, table))


def add_up(rows: torch.Tensor, total: torch.Tensor) -> None:
    """total = sum of rows"""
    total.copy_(rows.sum())


@dataclass(frozen=True)
class Report:
    """What the script printed and where its traceback points."""

    line: int
    """Line of main() that the traceback names."""
    code: str
    """The text of that line."""
    message: str
    """The last line of the traceback."""
    output: str


def run(blocking: bool) -> Report:
    """Run this file as a script and read its traceback. Raises RuntimeError if the script did not fail."""
    environment = {**os.environ, "CUDA_LAUNCH_BLOCKING": "1" if blocking else "0"}
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, env=environment)
    lines = re.findall(r'incorrect_index\.py", line (\d+), in main', done.stderr)
    if done.returncode == 0 or not lines:
        raise RuntimeError(
            f"incorrect_index.py should fail in main(), but printed:\n{done.stdout}{done.stderr}"
        )
    message = next(
        text for text in reversed(done.stderr.splitlines()) if re.match(r"\S*(Error|Exception)", text)
    )
    line = int(lines[-1])
    return Report(line, source_line(line), message, done.stdout)


def source_line(number: int) -> str:
    """The text of a line of this file, without indentation."""
    return Path(__file__).read_text(encoding="utf-8").splitlines()[number - 1].strip()


def culprit() -> int:
    """The number of the line that launches the faulty lookup."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return 1 + next(i for i, text in enumerate(lines) if text.strip().startswith("device.launch(lookup"))


if __name__ == "__main__":
    main()
