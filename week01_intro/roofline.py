"""The roofline: a white-box model that predicts the time of an operation from its FLOP and its bytes.

S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4), 2009.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from effdl.bench import compare
from effdl.device import Ceilings, device, scale


@dataclass(frozen=True)
class Operation:
    """An operation to time: ``flops`` operations on floating-point numbers, ``nbytes`` read plus written.

    The bytes are the least that any implementation moves: every input read once, every output written once.
    """

    run: Callable[[], object]
    flops: float
    nbytes: float

    @property
    def intensity(self):
        """Arithmetic intensity, FLOP per byte."""
        return self.flops / self.nbytes


def attainable(intensity, ceilings):
    """FLOP/s that the roofline allows at ``intensity`` FLOP per byte."""
    return min(ceilings.flops, intensity * ceilings.bandwidth)


def seconds(flops, nbytes, ceilings):
    """Seconds that the roofline predicts: the slower of computing and moving, if they overlap perfectly."""
    return max(flops / ceilings.flops, nbytes / ceilings.bandwidth)


def matmul(m, k, n):
    """Product of float32 matrices (m, k) and (k, n): 2mkn FLOP, three matrices moved."""
    a, b = torch.randn(m, k, device=device()), torch.randn(k, n, device=device())
    out = torch.empty(m, n, device=device())
    return Operation(lambda: torch.mm(a, b, out=out), 2 * m * k * n, 4 * (m * k + k * n + m * n))


def elementwise(n):
    """Operations over ``n`` float32 values by name, all writing into memory that is already held."""
    x, y = torch.randn(n, device=device()), torch.randn(n, device=device())
    out = torch.empty_like(x)
    return {
        "copy": Operation(lambda: out.copy_(x), 0, 8 * n),
        "add": Operation(lambda: torch.add(x, y, out=out), n, 12 * n),
        "multiply-add": Operation(lambda: torch.add(x, y, alpha=2.0, out=out), 2 * n, 12 * n),
        "ReLU": Operation(lambda: torch.clamp_min(x, 0, out=out), n, 8 * n),
        "sum": Operation(lambda: x.sum(), n, 4 * n),
    }


def conv3x3(batch, channels, side):
    """3x3 convolution of ``batch`` float32 images, ``channels`` to ``channels``, ``side`` pixels squared."""
    images = torch.randn(batch, channels, side, side, device=device())
    kernels = torch.randn(channels, channels, 3, 3, device=device())
    flops = 2 * images.numel() * channels * 9
    return Operation(
        lambda: torch.conv2d(images, kernels, padding=1), flops, 4 * (2 * images.numel() + kernels.numel())
    )


PROBES = ("copy", "square matmul")  # the operations that measure the ceilings


def operations():
    """The operations of the lecture by name, with sizes for the device in use; the probes are among them."""
    side = scale(cpu=1024, gpu=8192)
    return elementwise(scale(cpu=2**24, gpu=2**28)) | {
        "matrix by vector": matmul(4 * side, 4 * side, 1),
        "outer matmul": matmul(2 * side, 64, 2 * side),
        "tall matmul": matmul(8 * side, side // 4, side // 4),
        "conv 3x3": conv3x3(scale(cpu=8, gpu=64), 64, 56),
        "square matmul": matmul(side, side, side),
    }


def measure(operations, pairs=9):
    """Time all operations side by side. Returns the comparison and the ceilings that its probes reached.

    Ceilings and operations come from one interleaved run: a machine that is slow today is slow for both.
    """
    # cuDNN would round a convolution's inputs to TF32, and the roof is one of float32.
    float32 = (
        torch.backends.cudnn.flags(allow_tf32=False) if device().type == "cuda" else contextlib.nullcontext()
    )
    with torch.no_grad(), float32:
        times = compare({name: operation.run for name, operation in operations.items()}, pairs=pairs)
    copy, square = (operations[probe] for probe in PROBES)
    bandwidth = copy.nbytes / times.median(PROBES[0])
    flops = square.flops / times.median(PROBES[1])
    return times, Ceilings(bandwidth, flops, torch.float32, torch.get_num_threads())


def predict(operation, ceilings):
    """Seconds that the roofline predicts for an operation; see :func:`seconds`."""
    return seconds(operation.flops, operation.nbytes, ceilings)


def limit(flops, nbytes, ceilings, overhead):
    """What sets the time of a call: ``"overhead"``, ``"bandwidth"`` or ``"compute"``.

    ``overhead`` is the seconds of a call that does next to nothing. The largest of the three times is the limit.
    """
    times = {
        "overhead": overhead,
        "bandwidth": nbytes / ceilings.bandwidth,
        "compute": flops / ceilings.flops,
    }
    return max(times, key=times.__getitem__)


def gelu_in_steps(x):
    """GELU of a float32 tensor by its tanh formula, one operation at a time: eight passes over memory."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_in_blocks(x, out, block):
    """The same into ``out``, ``block`` values at a time: one step leaves in the cache what the next one reads."""
    for start in range(0, len(x), block):
        out[start : start + block] = gelu_in_steps(x[start : start + block])
    return out


def compare_gelu(n, block, pairs=7):
    """Time GELU over ``n`` float32 values three ways: in steps, in blocks of ``block``, in PyTorch's one kernel.

    On a CPU with one thread: two that wait for each other would be at the mercy of what else the machine does.
    """
    x = torch.randn(n, device=device())
    out = torch.empty_like(x)
    ways = {
        "in steps": lambda: gelu_in_steps(x),
        "in blocks": lambda: gelu_in_blocks(x, out, block),
        "one kernel": lambda: torch.nn.functional.gelu(x, approximate="tanh"),
    }
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return compare(ways, pairs=pairs)
    finally:
        torch.set_num_threads(before)


def compare_fresh_memory(n, pairs=6):
    """Time an addition of ``n`` float32 values into held memory, and into memory fresh from the system.

    On a CPU a large tensor is fresh whenever PyTorch allocates it. On a GPU the cache is emptied first.
    """
    x = torch.randn(n, device=device())
    out = torch.empty_like(x)

    def fresh():
        torch.cuda.empty_cache()
        return x + 1.0

    return compare({"fresh memory": fresh, "held memory": lambda: torch.add(x, 1.0, out=out)}, pairs=pairs)
