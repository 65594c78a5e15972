"""Two Triton kernels: run by Triton's interpreter on a CPU, compiled for GPUs that are not here.

A kernel is a Python function that describes the work of one *program*, on a block of elements; Triton starts as many
programs as the grid says (Tillet, Kung and Cox 2019).
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effdl.data import cache_folder

try:
    import triton
    import triton.language as tl
except ImportError:  # Triton has wheels for Linux only

    class tl:  # type: ignore[no-redef]
        """So that the kernels below can be read where they cannot run."""

        constexpr = int

    triton = None

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


def launch(kernel: Callable[..., None], grid: tuple[int, ...], *arguments: Any, **constants: int) -> None:
    """Run a kernel: on the GPU where its tensors are, by the interpreter if they are on a CPU.

    Raises RuntimeError without Triton.
    """
    if triton is None:
        raise RuntimeError("Triton is not installed; its wheels are for Linux (requirements-week07.txt)")
    if arguments[0].is_cuda:
        from triton.runtime.jit import JITFunction as Function
    else:
        # What TRITON_INTERPRET=1 chooses for every kernel of a process; here one process has both.
        from triton.runtime.interpreter import InterpretedFunction as Function
    Function(kernel)[grid](*arguments, **constants)


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


@dataclass(frozen=True)
class Compiled:
    """What Triton's compiler made of a kernel for a GPU."""

    target: str
    code: str
    """PTX, the assembly language of NVIDIA's driver."""
    machine_code: int
    """Bytes of machine code; 0 where no assembler came with Triton."""

    @property
    def loads_and_stores(self) -> Counter[str]:
        """Instructions for global memory by kind: {"ld.global.v4.b32": 4, ...}."""
        return Counter(re.findall(r"\b((?:ld|st)\.global(?:\.v\d)?\.b\d+)", self.code))

    @property
    def tensor_core_instructions(self) -> Counter[str]:
        """Instructions that multiply whole tiles, by kind."""
        return Counter(re.findall(r"\b(wgmma\.mma_async|mma\.sync|tcgen05\.mma)\b", self.code))


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


def compiled(
    kernel: Callable[..., None],
    signature: Mapping[str, str],
    constants: Mapping[str, int],
    capability: int = 90,
    aligned: bool = True,
) -> Compiled:
    """Compile a kernel for an NVIDIA GPU of this compute capability (80: A100, 90: H100, 100: B200), without one.

    ``aligned`` promises that addresses and sizes are multiples of 16, as a launch would find out by itself.
    """
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    variable = [place for place, kind in enumerate(signature.values()) if kind != "constexpr"]
    hints = {(place,): [["tt.divisibility", 16]] for place in variable} if aligned else {}
    source = ASTSource(
        fn=JITFunction(kernel), signature=dict(signature), constexprs=dict(constants), attrs=hints
    )
    os.environ.setdefault("TRITON_CACHE_DIR", str(cache_folder() / "triton"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a default that the next version changes
        result = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    return Compiled(f"sm_{capability}", result.asm["ptx"], len(result.asm.get("cubin", b"")))


def compiled_gate(aligned: bool) -> Compiled:
    """:func:`gate_kernel` for an H100."""
    return compiled(gate_kernel, GATE_SIGNATURE, {"BLOCK": BLOCK}, aligned=aligned)


def compiled_product(capability: int, tile: int = 64) -> Compiled:
    """:func:`product_kernel` in square tiles."""
    return compiled(
        product_kernel, PRODUCT_SIGNATURE, dict.fromkeys(("ROWS", "COLUMNS", "STEP"), tile), capability
    )
