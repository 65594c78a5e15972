"""Kernels: those in Triton, run by its interpreter on a CPU and compiled for GPUs that are not here; and where those
are kept that `torch.compile` writes.

    from effdl.kernels import launch, tl

A kernel is a Python function that describes the work of one *program*, on a block of elements; Triton starts as many
programs as the grid says (Tillet, Kung and Cox 2019). Where Triton is not installed, `triton` is None, and modules
with kernels can be imported and read all the same.
"""

import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from effdl.data import cache_folder


class _Readable:
    """Stands for Triton's language, so that kernels can be read where they cannot run."""

    constexpr = int


triton: Any
tl: Any
try:
    triton, tl = import_module("triton"), import_module("triton.language")
except ImportError:  # Triton has wheels for Linux only
    triton, tl = None, _Readable


def inductor_folder() -> Path:
    """Where what PyTorch's compiler has compiled on this kind of machine is kept between runs."""
    import torch

    from effdl.device import kind

    return cache_folder() / "inductor" / f"{kind()}-{torch.__version__}"


def keep_kernels() -> None:
    """Let PyTorch's compiler keep kernels in `inductor_folder()`, and compile here instead of in a pool of helpers.

    There it also finds what it has asked the C++ compiler about this processor before: seven seconds.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(inductor_folder())
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"


NEEDS_TRITON = "Triton, whose wheels are for Linux (requirements-week07.txt)"


def launch(kernel: Callable[..., None], grid: tuple[int, ...], *arguments: Any, **constants: int) -> None:
    """Run a kernel: on the GPU where its tensors are, by the interpreter if they are on a CPU.

    Raises RuntimeError without Triton.
    """
    if triton is None:
        raise RuntimeError(f"this needs {NEEDS_TRITON}")
    if arguments[0].is_cuda:
        from triton.runtime.jit import JITFunction as Function
    else:
        # What TRITON_INTERPRET=1 chooses for every kernel of a process; here one process has both.
        from triton.runtime.interpreter import InterpretedFunction as Function
    Function(kernel)[grid](*arguments, **constants)


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

    @property
    def tile_products(self) -> Counter[str]:
        """The same by their full names: {"mma.sync.aligned.m16n8k32.row.col...s32.s8.s8.s32": 16}."""
        return Counter(re.findall(r"\b(?:wgmma\.mma_async|mma\.sync|tcgen05\.mma)[\w.:]*", self.code))


def compiled(
    kernel: Callable[..., None],
    signature: Mapping[str, str],
    constants: Mapping[str, int],
    capability: int = 90,
    aligned: bool = True,
) -> Compiled:
    """Compile a kernel for an NVIDIA GPU of this compute capability (80: A100, 90: H100, 100: B200), without one.

    `signature`: Triton's types of the arguments by name, "constexpr" for those that `constants` gives. `aligned`
    promises that addresses and sizes are multiples of 16, as a launch would find out by itself.
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
