"""Two Triton kernels, and what they compute in PyTorch; `effdl.kernels` runs and compiles them."""

import torch
from torch import Tensor

from effdl.kernels import Compiled, compiled, launch, tl
from effdl.kernels import triton as triton  # for those who ask whether it is installed

BLOCK = 1024


def gate_kernel(x_ptr, residual_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """One program: BLOCK elements of (x + residual) * sigmoid(1.702 * (x + residual)), float32."""
    places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = places < n  # the last block may reach beyond the end
    x = tl.load(x_ptr + places, mask=inside)
    residual = tl.load(residual_ptr + places, mask=inside)
    y = x + residual
    tl.store(out_ptr + places, y / (1 + tl.exp(-1.702 * y)), mask=inside)


def product_kernel(
    a_ptr, b_ptr, out_ptr, n, k, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr
):
    """One program: a tile of (rows, k) times (k, n), float16 to float32; sizes are multiples of the tile's."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    sums = tl.full((ROWS, COLUMNS), 0.0, tl.float32)
    for start in range(0, k, STEP):
        inner = start + tl.arange(0, STEP)
        a = tl.load(a_ptr + rows[:, None] * k + inner[None, :])
        b = tl.load(b_ptr + inner[:, None] * n + columns[None, :])
        sums += tl.dot(a, b)
    tl.store(out_ptr + rows[:, None] * n + columns[None, :], sums)


def gate(x: Tensor, residual: Tensor) -> Tensor:
    """The same in PyTorch: four operations, and a tensor between each two."""
    y = x + residual
    return y * torch.sigmoid(1.702 * y)


# ---- run


def gate_by_triton(x: Tensor, residual: Tensor) -> Tensor:
    """The gate of two contiguous float32 tensors of one shape, by :func:`gate_kernel`."""
    out = torch.empty_like(x)
    launch(gate_kernel, (-(-x.numel() // BLOCK),), x, residual, out, x.numel(), BLOCK=BLOCK)
    return out


def product_by_triton(a: Tensor, b: Tensor, tile: int = 32) -> Tensor:
    """The product of contiguous float16 matrices whose sizes are multiples of ``tile``, as float32."""
    (rows, k), n = a.shape, b.shape[1]
    out = torch.empty(rows, n, dtype=torch.float32, device=a.device)
    launch(product_kernel, (rows // tile, n // tile), a, b, out, n, k, ROWS=tile, COLUMNS=tile, STEP=tile)
    return out


# ---- compile


GATE_SIGNATURE = {
    "x_ptr": "*fp32",
    "residual_ptr": "*fp32",
    "out_ptr": "*fp32",
    "n": "i32",
    "BLOCK": "constexpr",
}
PRODUCT_SIGNATURE = {
    "a_ptr": "*fp16",
    "b_ptr": "*fp16",
    "out_ptr": "*fp32",
    "n": "i32",
    "k": "i32",
} | dict.fromkeys(("ROWS", "COLUMNS", "STEP"), "constexpr")


def compiled_gate(aligned: bool) -> Compiled:
    """:func:`gate_kernel` for an H100."""
    return compiled(gate_kernel, GATE_SIGNATURE, {"BLOCK": BLOCK}, aligned=aligned)


def compiled_product(capability: int, tile: int = 64) -> Compiled:
    """:func:`product_kernel` in square tiles."""
    return compiled(
        product_kernel, PRODUCT_SIGNATURE, dict.fromkeys(("ROWS", "COLUMNS", "STEP"), tile), capability
    )
