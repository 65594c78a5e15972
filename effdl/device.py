"""The device in use, its description for a caption, and the two numbers that bound it.

A lab asks three things of this module: sizes that fit the device (:func:`scale`), a way to wait for it
(:func:`synchronize`), and its measured ceilings (:func:`ceilings`), which are the two lines of a roofline.
"""

import ctypes
import functools
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from effdl.quiet import cores

MIB = 2**20


@functools.cache
def device() -> torch.device:
    """The device that the labs use: CUDA device 0 if there is one, else the CPU.

    Set ``CUDA_VISIBLE_DEVICES=""`` before Python starts to run a lab on the CPU of a GPU machine.
    """
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def scale(*, cpu: Any, gpu: Any) -> Any:
    """The value for the device in use. Put one table of these at the top of a lab."""
    return gpu if device().type == "cuda" else cpu


def synchronize() -> None:
    """Wait until the device has finished all the work queued so far. On a CPU nothing is queued."""
    if device().type == "cuda":
        torch.cuda.synchronize(device())


@functools.cache
def _sched_getcpu() -> Callable[[], int]:
    return getattr(ctypes.CDLL(None), "sched_getcpu", lambda: 0)


def core() -> int:
    """The core that this thread runs on at the moment; always 0 where the system does not tell."""
    return _sched_getcpu()()


@functools.cache
def cpu_model() -> str:
    """The name of the CPU chip, as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return " ".join(line.split(":", 1)[1].split())
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def _cpuinfo() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo; none where the system has no such file."""
    cpuinfo = Path("/proc/cpuinfo")
    block = cpuinfo.read_text().partition("\n\n")[0] if cpuinfo.exists() else ""
    pairs = (line.partition(":") for line in block.splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def instruction_sets() -> tuple[str, ...]:
    """What PyTorch's kernels use of this processor: ("AVX512", "AMX"), ("AVX2",), ("DEFAULT",), ...

    First the widest SIMD of PyTorch's own kernels (ATEN_CPU_CAPABILITY lowers it), then AMX where oneDNN may use
    it, then what the environment holds oneDNN or MKL down to.
    """
    found = [torch.backends.cpu.get_cpu_capability().replace(" ", "")]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    if "amx_tile" in _cpuinfo().get("flags", "").split() and not limit:
        found.append("AMX")
    if limit:
        found.append(f"oneDNN {limit}")
    if limit := os.environ.get("MKL_ENABLE_INSTRUCTIONS", ""):
        found.append(f"MKL {limit}")
    return tuple(found)


def processor() -> str:
    """The processor's family: "AMD EPYC 25-1", "Intel Xeon 6-85", "aarch64 0x41-0xd40", "Apple M2".

    Two numbers tell generations apart where a virtual machine hides the chip's name, or Linux on ARM never had it:
    family and model, or implementer and part.
    """
    name = re.sub(r"\((r|tm|c)\)|@.*|\b(cpu|processor|\d+-core)\b", " ", cpu_model(), flags=re.IGNORECASE)
    info = _cpuinfo()
    fields = ("cpu family", "model", "cpu implementer", "cpu part")
    numbers = [info[field] for field in fields if field in info]
    return " ".join([*name.split(), "-".join(numbers)]).strip()


def kind_label() -> str:
    """The kind of this machine, for a reader: a GPU if there is one, processor, instruction sets and cores."""
    plural = "core" if cores() == 1 else "cores"
    label = f"{processor()}, {' '.join(instruction_sets())}, {cores()} {plural}"
    if device().type == "cuda":
        return f"{torch.cuda.get_device_properties(device()).name}, {label}"
    return label


def kind() -> str:
    """The kind of this machine as a file name: ``intel-xeon-6-85-avx512-2-cores``.

    Two machines of one kind should agree on what is faster than what: the same processor family, the same
    instruction sets in PyTorch's kernels, as many cores. Library versions are kept with each result.
    """
    return file_name(kind_label())


def file_name(label: str) -> str:
    """The name of the results file of a kind of machine."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")


def describe() -> str:
    """One line for a caption: chip, cores, torch version. It never holds a host name."""
    if device().type == "cuda":
        chip = torch.cuda.get_device_properties(device())
        name = f"{chip.name} ({chip.multi_processor_count} SMs), CUDA {torch.version.cuda}"
        return f"{name}, torch {torch.__version__}"
    plural = "core" if cores() == 1 else "cores"
    return f"{cpu_model()} ({cores()} {plural}), torch {torch.__version__}"


@dataclass(frozen=True)
class Ceilings:
    """The measured upper bounds of a device: the two lines of the roofline (Williams et al. 2009)."""

    bandwidth: float
    """Bytes read plus bytes written per second, main memory of the device."""
    flops: float
    """Floating-point operations per second of a large matrix product; one multiply-add is two."""
    dtype: torch.dtype
    """What the matrices hold."""
    threads: int
    """CPU threads that PyTorch used. On a GPU this is 1: the thread that launches kernels."""

    @property
    def ridge(self) -> float:
        """FLOP per byte at which the two lines meet. Below it an operation is bound by memory."""
        return self.flops / self.bandwidth

    def __str__(self) -> str:
        kind = str(self.dtype).removeprefix("torch.")
        return (
            f"{self.bandwidth / 1e9:.3g} GB/s, {self.flops / 1e9:.4g} GFLOP/s in {kind}, "
            f"ridge at {self.ridge:.3g} FLOP/byte"
        )


def ceilings(dtype: torch.dtype = torch.float32) -> Ceilings:
    """Measure the memory bandwidth and the matmul FLOP/s of the device in use, once per process.

    The bandwidth is the best of STREAM's copy and triad and of a sum, on buffers at least four times the
    last-level cache (McCalpin 1995). The FLOP/s are those of the faster of two square products. Both are
    the best of their samples: whatever disturbs a measurement only makes it slower. Takes about 3 s.

    Raises ValueError for a dtype that is not floating point.
    """
    if not dtype.is_floating_point:
        raise ValueError(
            f"ceilings() measures floating-point types, not {dtype}; pass torch.float32 or the like"
        )
    threads = torch.get_num_threads() if device().type == "cpu" else 1
    return _ceilings(dtype, threads)


@functools.cache
def _ceilings(dtype: torch.dtype, threads: int) -> Ceilings:
    return Ceilings(_bandwidth(), _matmul_flops(dtype), dtype, threads)


def last_level_cache() -> int:
    """Bytes of the largest cache between the cores and memory; 32 MiB where the system does not say."""
    if device().type == "cuda":
        return torch.cuda.get_device_properties(device()).L2_cache_size
    sizes = []
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text.rstrip("KMG")) * {"K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1], 1))
    return max(sizes, default=32 * MIB)


def _free_memory() -> int:
    return (
        torch.cuda.mem_get_info(device())[0] if device().type == "cuda" else psutil.virtual_memory().available
    )


def _best_times(kernels: Sequence[Callable[[], Any]], calls: int, seconds: float) -> list[float]:
    """Seconds of one call of each kernel in its fastest sample; samples take turns for ``seconds``.

    A sample is ``calls`` calls and one wait for the device. The turns go on for a while because a busy
    neighbour slows whole tenths of a second: one quiet moment is enough for a ceiling.
    """
    for kernel in kernels:
        kernel()
    best = [float("inf")] * len(kernels)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or float("inf") in best:
        for i, kernel in enumerate(kernels):
            synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                kernel()
            synchronize()
            best[i] = min(best[i], (time.perf_counter() - start) / calls)
    return best


def _bandwidth() -> float:
    # Four caches, so that no buffer is still cached from its last use; at least 1 GiB on a GPU, where a
    # smaller copy ends before the launch of the next is hidden; never more than a tenth of free memory.
    smallest = scale(cpu=64 * MIB, gpu=1024 * MIB)
    nbytes = min(max(smallest, 4 * last_level_cache()), _free_memory() // 10) // 4 * 4
    a, b, c = (torch.ones(nbytes // 4, dtype=torch.float32, device=device()) for _ in range(3))
    kernels = {
        lambda: a.copy_(b): 2 * nbytes,
        lambda: torch.add(b, c, alpha=3.0, out=a): 3 * nbytes,
        lambda: b.sum(): nbytes,
    }
    times = _best_times(list(kernels), calls=scale(cpu=1, gpu=10), seconds=1.0)
    return max(moved / seconds for moved, seconds in zip(kernels.values(), times, strict=True))


def _product(n: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    a, b = (torch.randn(n, n, dtype=torch.float32, device=device()).to(dtype) for _ in range(2))
    return functools.partial(torch.mm, a, b, out=torch.empty_like(a))


def _matmul_flops(dtype: torch.dtype) -> float:
    # A type that the chip does not support is emulated, a thousand times slower: grow from a small product,
    # to one that lasts long enough for all threads and the clock to reach their full speed.
    enough, largest = scale(cpu=(0.03, 2048), gpu=(0.002, 8192))
    n = 256
    while n < largest and _best_times([_product(n, dtype)], calls=1, seconds=0.0)[0] < enough:
        n *= 2
    sizes = (n // 2, n)
    times = _best_times([_product(size, dtype) for size in sizes], calls=1, seconds=1.0)
    return max(2 * size**3 / seconds for size, seconds in zip(sizes, times, strict=True))
