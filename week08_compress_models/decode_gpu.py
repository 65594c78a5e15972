"""The products of a decoding step at the shapes of an 8-billion model, as a share of the device's bandwidth.

Weights are random: a product takes as long whatever it multiplies. On a GPU: bfloat16; int8 whose widening
`torch.compile` fuses into the product; int4 by PyTorch's own kernel. On a CPU the same code runs in tiny shapes
with the CPU's kernels, so that it is tested where there is no GPU; its shares mean nothing there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from effdl import bench
from effdl.device import ceilings, device, last_level_cache, scale
from week08_compress_models.int8_speed import pack_int4, rounded

# (out, in) of the layers of a block of Llama 3 8B: query, key and value in one; output; gate and up in one; down.
BLOCK_8B = {"qkv": (6144, 4096), "out": (4096, 4096), "gate, up": (28_672, 4096), "down": (4096, 14_336)}
SHAPES = scale(cpu={"qkv": (192, 128), "down": (128, 448)}, gpu=BLOCK_8B)
BATCHES = scale(cpu=(1, 4), gpu=(1, 4, 16, 64, 256))
MOST_COPIES = scale(cpu=2, gpu=64)
GROUP = 32

Product = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Route:
    """A way to multiply with a weight: the prepared product, and the bytes that it must read."""

    multiply: Product
    nbytes: int


def bfloat16(weight: torch.Tensor) -> Route:
    """As trained."""
    wide = weight.bfloat16()
    return Route(lambda x: F.linear(x, wide), wide.nbytes)


def _widen(x: torch.Tensor, codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    return F.linear(x, codes.to(x.dtype)) * scales


def int8(weight: torch.Tensor) -> Route:
    """A scale per channel, taken out of the sum."""
    codes, scales = rounded(weight.float())
    scales = scales.flatten().bfloat16()
    nbytes = codes.nbytes + scales.nbytes
    if weight.device.type == "cpu":
        return Route(lambda x: torch._weight_int8pack_mm(x, codes, scales), nbytes)
    fused = _compiled()
    return Route(lambda x: fused(x, codes, scales), nbytes)


def _compiled() -> Callable[..., torch.Tensor]:
    import torch._inductor.config

    torch._inductor.config.coordinate_descent_tuning = True
    return torch.compile(_widen, dynamic=False)


def int4(weight: torch.Tensor) -> Route:
    """A scale and a middle per group of 32."""
    if weight.device.type == "cpu":
        packed, scales = pack_int4(weight, GROUP)
        return Route(
            lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, scales),
            packed.nbytes + scales.nbytes,
        )
    # Random codes: two in a byte. Eight tiles of 16 columns lie together (innerKTiles), as the kernel reads them.
    out, size = weight.shape
    pairs = torch.randint(0, 256, (out, size // 2), dtype=torch.uint8, device=weight.device)
    packed = torch.ops.aten._convert_weight_to_int4pack(pairs, 8)
    scales = torch.randn(size // GROUP, out, 2, device=weight.device).bfloat16()
    return Route(
        lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, scales), packed.nbytes + scales.nbytes
    )


ROUTES = {"bfloat16": bfloat16, "int8 weights": int8, "int4 weights": int4}


def repeated(
    make: Callable[[torch.Tensor], Route], shape: tuple[int, int], batch: int
) -> tuple[Product, int]:
    """One call that multiplies with several copies of a layer, so that none is still in a cache; and its bytes.

    On a GPU the calls are recorded as a CUDA graph: launching a kernel takes longer than a small layer does.
    """
    weight = torch.randn(shape, device=device()) / math.sqrt(shape[1])
    first = make(weight)
    copies = min(MOST_COPIES, max(1, math.ceil(4 * last_level_cache() / first.nbytes)))
    layers = [first, *(make(weight) for _ in range(copies - 1))]
    x = torch.randn(batch, shape[1], device=device()).bfloat16()

    def run() -> None:
        for layer in layers:
            layer.multiply(x)

    if device().type == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run(), run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay, copies * first.nbytes
    return run, copies * first.nbytes


@dataclass(frozen=True)
class Step:
    """One route over all layers of a block: seconds of one pass, the bytes of its weights, share of the bandwidth."""

    seconds: float
    nbytes: float
    share: float


@torch.no_grad()
def steps(pairs: int = 10) -> dict[tuple[str, int], Step]:
    """Each route at each batch, over `SHAPES`, interleaved per shape: {(route, batch): Step}."""
    found = {}
    for batch in BATCHES:
        seconds, nbytes = dict.fromkeys(ROUTES, 0.0), dict.fromkeys(ROUTES, 0.0)
        for shape in SHAPES.values():
            ready = {name: repeated(make, shape, batch) for name, make in ROUTES.items()}
            times = bench.compare({name: run for name, (run, _) in ready.items()}, pairs=pairs)
            for name, make in ROUTES.items():
                one = make(torch.zeros(shape, device=device())).nbytes
                copies = ready[name][1] / one
                seconds[name] += times.median(name) / copies
                nbytes[name] += one
        for name in ROUTES:
            share = nbytes[name] / seconds[name] / ceilings().bandwidth
            found[name, batch] = Step(seconds[name], nbytes[name], share)
    return found
