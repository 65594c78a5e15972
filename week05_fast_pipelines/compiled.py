"""What `torch.compile` does to a chain of element-wise operations: its kernel, its price, what makes it start again.

As a program (`python -m week05_fast_pipelines.compiled`) it compiles the chain in this fresh process and prints the
seconds of its first two calls as JSON.
"""

import contextlib
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effdl.device import device, scale
from effdl.kernels import inductor_folder, keep_kernels

ROWS, WIDTH = scale(cpu=(2048, 2048), gpu=(16384, 4096))
UNITS_FUSED = 3
"""Tensors of rows x width that one kernel must move: both inputs and the result."""


def chain(x: Tensor, residual: Tensor, gain: Tensor) -> Tensor:
    """Add a residual, normalise by the root mean square, apply a gate; all (rows, width), gain (width,)."""
    x = x + residual
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * gain
    return x * torch.sigmoid(1.702 * x)


def inputs(rows: int = ROWS, width: int = WIDTH) -> tuple[Tensor, Tensor, Tensor]:
    """Arguments of the chain, float32, on the device in use."""
    generator = torch.Generator().manual_seed(0)
    shapes = (rows, width), (rows, width), (width,)
    x, residual, gain = (torch.randn(shape, generator=generator).to(device()) for shape in shapes)
    return x, residual, gain


@dataclass(frozen=True)
class FirstCall:
    """What the first call of a compiled function took, in a process that had compiled nothing before."""

    first: float
    """Seconds of the first call: tracing, writing C++ (or Triton), compiling that, running it."""
    second: float
    """Seconds of the second call, which only runs."""
    kernel: str
    """The loops that torch.compile wrote."""


class FreshProcess:
    """Compiles the chain in a process of its own that finds no kernel in the cache, once on this machine.

    It starts at once and takes one core for some twenty seconds: call :meth:`result` before you time anything. Later
    runs read what the first one measured.
    """

    def __init__(self):
        self.record = inductor_folder() / "first_call.json"
        self.process = None
        if not self.record.exists():
            keep_kernels()
            command = [sys.executable, "-m", "week05_fast_pipelines.compiled"]
            root = Path(__file__).resolve().parent.parent
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
            )

    def result(self) -> FirstCall | str:
        """Wait for the process; what it measured, or a sentence if nothing could be compiled.

        Raises subprocess.TimeoutExpired after five minutes.
        """
        if self.process is not None:
            try:
                output, errors = self.process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise
            if self.process.returncode:
                last = (errors.strip().splitlines() or ["no message"])[-1]
                return (
                    f"torch.compile does not work here, most likely for want of a C++ compiler ({last[:120]})"
                )
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self.record.write_text(output.splitlines()[-1])
        return FirstCall(**json.loads(self.record.read_text()))


def _first_calls() -> dict[str, Any]:
    from torch._inductor.utils import run_and_get_code  # no public way in PyTorch 2.11 to 2.13

    torch.set_num_threads(1)
    compiled, arguments, taken, codes = torch.compile(chain), inputs(), [], []
    with torch.no_grad():
        for run in (run_and_get_code, lambda function, *given: (function(*given), [])):
            start = time.perf_counter()
            result, code = run(compiled, *arguments)
            result.sum().item()  # on a GPU this waits for the result
            taken.append(time.perf_counter() - start)
            codes += code
        torch.testing.assert_close(result, chain(*arguments))
    return {"first": taken[0], "second": taken[1], "kernel": shortened(max(codes, key=len))}


def shortened(source: str) -> str:
    """The kernel in what torch.compile writes, its casts of sizes and its braces left out, to be read by people."""
    if found := re.search(r"r?'''\n?(.*?)'''", source, re.DOTALL):
        source = found.group(1)
    source = re.sub(r"static_cast<int64_t>\(([^()]*?)L?\)", r"\1", source)
    source = source.replace("at::vec::Vectorized<float>", "Vec")
    lines = [line for line in source.splitlines() if line.strip()]
    skip = re.compile(r"\s*(\{|\}|#pragma.*|#include.*|.*integer_div.*|if\(C10_LIKELY.*)\s*")
    kept = [line for line in lines if not skip.fullmatch(line)]
    depths = sorted({len(line) - len(line.lstrip()) for line in kept})
    return "\n".join("  " * depths.index(len(line) - len(line.lstrip())) + line.lstrip() for line in kept)


# ---- graphs: what breaks one, what makes a second


def graphs(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], **options: Any) -> int:
    """How many graphs torch.compile hands to its backend in these calls. Each then runs as it is.

    `options` go to torch.compile.
    """
    seen = 0

    def backend(graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        nonlocal seen
        seen += 1
        return graph.forward

    torch.compiler.reset()
    torch._logging.set_logs(dynamo=logging.ERROR)  # it would explain each break at length
    compiled = torch.compile(function, backend=backend, **options)
    with torch.no_grad(), contextlib.redirect_stdout(None):
        for arguments in calls:
            compiled(*arguments)
    torch._logging.set_logs()
    torch.compiler.reset()
    return seen


def straight(x: Tensor) -> Tensor:
    """One graph."""
    return (x * 2).relu().sum()


def with_print(x: Tensor) -> Tensor:
    """The text needs the number: the graph ends here, and another begins."""
    y = x * 2
    print(f"{y.mean().item():.0f}", end="")
    return y.relu().sum()


def with_branch(x: Tensor) -> Tensor:
    """Python decides by the value of a tensor."""
    y = x * 2
    if y.sum() > 0:
        y = y.relu()
    return y.sum()


def without_branch(x: Tensor) -> Tensor:
    """The same decision made by the device."""
    y = x * 2
    return torch.where(y.sum() > 0, y.relu(), y).sum()


def with_number(x: Tensor, number: float) -> Tensor:
    """A number of Python's, such as a learning rate, that changes from call to call."""
    return (x * number).relu().sum()


def length_calls(lengths: Sequence[int]) -> list[tuple[Tensor]]:
    """A call for each length."""
    return [(torch.ones(4, n),) for n in lengths]


if __name__ == "__main__":
    print(json.dumps(_first_calls()))
