"""How many warps fit on a multiprocessor, by arithmetic; and measurements that need a CUDA device.

Each measurement returns an :class:`effdl.bench.Comparison`.
"""

import torch

from effdl.bench import compare
from effdl.device import device

REGISTERS, MOST_WARPS = 65_536, 64
"""Of one multiprocessor of an H100 (compute capability 9.0; CUDA C++ Programming Guide)."""


def resident_warps(registers):
    """Warps that fit on a multiprocessor of an H100 if each thread of a kernel uses so many registers, 1 to 255.

    A warp is given registers in units of 256, eight for each of its 32 threads.
    """
    for_a_warp = -(-registers // 8) * 8 * 32
    return min(MOST_WARPS, REGISTERS // for_a_warp)


def compare_copies(nbytes=256 * 2**20):
    """Copy ``nbytes`` from host to device, out of pageable and out of pinned memory."""
    pageable = torch.ones(nbytes, dtype=torch.uint8)
    pinned = pageable.pin_memory()
    target = torch.empty(nbytes, dtype=torch.uint8, device=device())
    return compare(
        {
            "pageable": lambda: target.copy_(pageable, non_blocking=True),
            "pinned": lambda: target.copy_(pinned, non_blocking=True),
        }
    )


def compare_autotuned(backward):
    """Time a convolution with ``cudnn.benchmark`` off and on: 64 filters 3x3, float32, input (32, 64, 64, 64).

    ``backward`` adds the gradients of input and weight. The first calls, in which cuDNN tries its algorithms, are
    part of the warm-up.
    """
    layer = torch.nn.Conv2d(64, 64, 3).to(device())
    images = torch.randn(32, 64, 64, 64, device=device(), requires_grad=backward)

    def run(tuned):
        torch.backends.cudnn.benchmark = tuned
        with torch.set_grad_enabled(backward):
            result = layer(images)
            if backward:
                result.backward(result)

    before = torch.backends.cudnn.benchmark
    try:
        return compare({"heuristic": lambda: run(False), "tuned": lambda: run(True)}, min_time=0.02)
    finally:
        torch.backends.cudnn.benchmark = before


def compare_graph(layers=20, width=128):
    """Time a chain of small linear layers, batch 16, launched one by one and replayed as a CUDA graph."""
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(layers))).to(device())
    x = torch.randn(16, width, device=device())
    with torch.no_grad():
        side = torch.cuda.Stream()  # a capture needs cuBLAS set up before it, and not on the capturing stream
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                model(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            model(x)

        def eager():
            with torch.no_grad():
                model(x)

        return compare({"eager": eager, "graph": graph.replay}, min_time=0.01)
