"""Products of int8 matrices: exact, by PyTorch's kernel, by float32, and as a Triton kernel.

All are A B^T: `a` (rows, k) int8 times `b` (columns, k) int8, both row by row as `nn.Linear` keeps its weight. Values
lie in -127 to 127, so that no number lacks its negative.
"""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effdl import kernels
from effdl.kernels import NEEDS_TRITON as NEEDS_TRITON
from effdl.kernels import tl
from effdl.kernels import triton as triton  # for those who ask whether it is installed

MOST_EXACT = 2**24 // 127**2
"""The longest row whose sums of products float32 holds exactly, whatever the order: 1,040."""
MOST_INT32 = (2**31 - 1) // 127**2
"""The longest row whose sum fits into int32: 133,144."""


def quantise_rows(x: Tensor, largest: int = 127) -> tuple[Tensor, Tensor]:
    """Each row on its own symmetric grid: x (rows, k) float32 to int8 (rows, k) and steps (rows, 1) float32.

    A row of zeros gets the step 1 and stays zero.
    """
    steps = x.abs().amax(1, keepdim=True) / largest
    steps = torch.where(steps > 0, steps, torch.ones_like(steps))
    return (x / steps).round().clamp(-largest, largest).to(torch.int8), steps


def exact(a: Tensor, b: Tensor) -> Tensor:
    """The reference: int64 all the way, by definition."""
    return a.long() @ b.long().t()


def by_integers(a: Tensor, b: Tensor) -> Tensor:
    """PyTorch's int8 kernel, with sums in int32; (rows, columns) int32."""
    if a.shape[1] == 1:  # torch 2.13 on a CPU answers with zeros for inner products of one term
        a, b = F.pad(a, (0, 1)), F.pad(b, (0, 1))
    return torch._int_mm(a, b.t())


def by_floats(a: Tensor, b: Tensor) -> Tensor:
    """The same integers as float32: sums above 2^24 are rounded."""
    return a.float() @ b.float().t()


def linear(x: Tensor, weight: Tensor, weight_steps: Tensor) -> Tensor:
    """x (rows, k) float32 times an int8 weight (columns, k) with a step for each row; (rows, columns) float32.

    The activations are quantised here, row by row: one step for each token, found while the model runs.
    """
    codes, steps = quantise_rows(x)
    return by_integers(codes, weight).float() * steps * weight_steps.t()


# ---- processors without instructions for int8


def wrong_entries(b_largest: int = 127, k: int = 512) -> int:
    """How many of 64 × 64 entries of PyTorch's product differ from the exact one; a is between -127 and 127."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(-127, 128, (64, k), dtype=torch.int8, generator=generator)
    b = torch.randint(-b_largest, b_largest + 1, (64, k), dtype=torch.int8, generator=generator)
    return int((by_integers(a, b) != exact(a, b)).sum())


def wrong_entries_without(instructions: str) -> tuple[int, int]:
    """The same in a process whose oneDNN may use no more than these instructions ("AVX2"); and with b in 7 bits.

    Without instructions for int8 oneDNN adds two products in 16 bits, and what does not fit is cut off. PyTorch takes
    a loop of its own where the *processor* has none (https://github.com/pytorch/pytorch/pull/136942).
    """
    code = "from week08_compress_models import int8_products as p; print(p.wrong_entries(127), p.wrong_entries(63))"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    full, seven = done.stdout.split()[-2:]
    return int(full), int(seven)


@functools.cache
def largest_here() -> int:
    """The largest code of a weight with which this machine's product is exact: 127, or 63 with oneDNN held down."""
    return 127 if wrong_entries() == 0 else 63


# ---- the same in Triton


def kernel(
    a_ptr, b_ptr, out_ptr, rows, columns, k, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr
):
    """One program: a tile (ROWS, COLUMNS) of A B^T, int8 to int32; tiles may reach beyond the matrices."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.full((ROWS, COLUMNS), 0, tl.int32)
    for start in range(0, k, STEP):
        inner = start + tl.arange(0, STEP)
        a_inside = (row[:, None] < rows) & (inner[None, :] < k)
        b_inside = (inner[:, None] < k) & (column[None, :] < columns)
        a = tl.load(a_ptr + row[:, None] * k + inner[None, :], mask=a_inside, other=0)
        b = tl.load(b_ptr + column[None, :] * k + inner[:, None], mask=b_inside, other=0)
        sums += tl.dot(a, b, out_dtype=tl.int32)
    inside = (row[:, None] < rows) & (column[None, :] < columns)
    tl.store(out_ptr + row[:, None] * columns + column[None, :], sums, mask=inside)


def by_triton(a: Tensor, b: Tensor, yours: Any = kernel, tile: int = 32) -> Tensor:
    """The product by a Triton kernel: on the GPU where the tensors are, by Triton's interpreter on a CPU.

    Raises RuntimeError without Triton.
    """
    (rows, k), columns = a.shape, b.shape[0]
    out = torch.full((rows, columns), -1, dtype=torch.int32, device=a.device)
    grid = (-(-rows // tile), -(-columns // tile))
    matrices = (a.contiguous(), b.contiguous(), out)
    kernels.launch(yours, grid, *matrices, rows, columns, k, ROWS=tile, COLUMNS=tile, STEP=tile)
    return out


def compiled(capability: int, tile: int = 64) -> kernels.Compiled:
    """The kernel for an NVIDIA GPU of this compute capability (80: A100, 90: H100), compiled without one."""
    types = {"a_ptr": "*i8", "b_ptr": "*i8", "out_ptr": "*i32", "rows": "i32", "columns": "i32", "k": "i32"}
    constants = dict.fromkeys(("ROWS", "COLUMNS", "STEP"), tile)
    return kernels.compiled(kernel, types | dict.fromkeys(constants, "constexpr"), constants, capability)
