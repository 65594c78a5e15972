"""Sparse against dense products: rows of pointers on a CPU, two of four on a GPU that has units for it."""

import warnings
from collections.abc import Sequence

import torch
from torch import nn

from effdl import bench
from week08_compress_models.pruning import by_magnitude, two_of_four


def csr(size: int, columns: int, sparsities: Sequence[float], pairs: int = 10) -> list[bench.Ratio]:
    """Time of a product (size, size) x (size, columns) in compressed rows over the dense one, at each sparsity."""
    x = torch.randn(size, columns)
    weight = torch.randn(size, size)
    calls = {"dense": lambda: weight @ x}
    for share in sparsities:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "beta state", once in each process
            kept = (weight * by_magnitude({"": weight}, share)[""]).to_sparse_csr()
        calls[str(share)] = lambda m=kept: m @ x
    with torch.inference_mode():
        times = bench.compare(calls, pairs=pairs, min_time=1e-4)  # 99 % of zeros: some microseconds
    return [times.ratio(str(share), "dense") for share in sparsities]


def two_four_on_gpu(size: int = 4096, rows: int = 4096) -> bench.Ratio:
    """Dense time over 2:4 time of a linear layer in float16, on an NVIDIA GPU of compute capability 8.0 or more."""
    from torch.sparse import to_sparse_semi_structured

    x = torch.randn(rows, size, dtype=torch.float16, device="cuda")
    layers = [
        nn.Linear(size, size, bias=False, dtype=torch.float16, device="cuda").requires_grad_(False)
        for _ in "ds"
    ]
    dense, sparse = layers
    pruned = dense.weight * two_of_four(dense.weight)
    dense.weight = nn.Parameter(pruned, requires_grad=False)
    sparse.weight = nn.Parameter(to_sparse_semi_structured(pruned), requires_grad=False)
    with torch.inference_mode():
        times = bench.compare({"dense": lambda: dense(x), "2:4": lambda: sparse(x)}, pairs=20, warmup=5)
    return times.ratio("dense", "2:4")
