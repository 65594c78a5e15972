"""Decoding at the shapes of known models on a GPU: operation by operation, as a graph, compiled."""

from collections.abc import Callable

import torch

from effdl import bench
from week10_invited_talks.decoding import Shape, Stack


def ways(stack: Stack, x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Four ways to the same token. The last one takes a minute to compile."""
    compiled = torch.compile(stack.fused, mode="max-autotune-no-cudagraphs", fullgraph=True)
    return {
        "written out, eager": lambda: stack.written_out(x),
        "fused by hand, eager": lambda: stack.fused(x),
        "fused by hand, as a graph": recorded(lambda: stack.fused(x)),
        "compiled, as a graph": recorded(lambda: compiled(x)),
    }


def recorded(fn: Callable[[], object]) -> Callable[[], object]:
    """All kernels of a call as one CUDA graph. Warmed up on a side stream first, as PyTorch's manual asks."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            fn()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fn()
    return graph.replay


@torch.no_grad()
def shares(shape: Shape, bandwidth: float, context: int = 128) -> dict[str, float]:
    """Per cent of the bandwidth that each way uses for one sequence in bfloat16."""
    stack = Stack(shape, 1, context, device="cuda", dtype=torch.bfloat16)
    x = torch.randn(1, shape.width, device="cuda", dtype=torch.bfloat16)
    times = bench.compare(ways(stack, x), pairs=20)
    return {
        name: 100 * shape.nbytes(1, context, 2) / times.median(name) / bandwidth for name in times.timings
    }
