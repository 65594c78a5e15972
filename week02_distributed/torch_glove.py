"""GloVe as PyTorch's users write it: sparse embeddings in shared memory, an optimizer that knows sparse gradients."""

import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding

from week02_distributed import glove
from week02_distributed.processes import CONTEXT, Group


def adagrad_step(table: np.ndarray, indices: np.ndarray, rows: np.ndarray, rate: float) -> np.ndarray:
    """The table after one step of torch.optim.Adagrad on the sparse gradient of an embedding; repeats add up."""
    weight = nn.Parameter(torch.from_numpy(table.copy()))
    optimizer = torch.optim.Adagrad([weight], lr=rate, initial_accumulator_value=1.0, eps=0.0)
    looked_up = embedding(torch.from_numpy(indices).long(), weight, sparse=True)
    looked_up.backward(torch.from_numpy(rows))
    optimizer.step()
    return weight.detach().numpy()


def _warm_up() -> None:
    """One step on nothing, which imports what PyTorch imports at the first one."""
    warnings.filterwarnings("ignore", message="Sparse invariant checks")
    adagrad_step(np.zeros((1, 1), np.float32), np.zeros(1, int), np.ones((1, 1), np.float32), 0.1)


def train(
    pairs: Sequence[np.ndarray], words: int, dim: int, workers: int, batch: int, rate: float
) -> tuple[dict[str, np.ndarray], float]:
    """One pass with `workers` processes and no lock, as torch.multiprocessing does HOGWILD!; tables and seconds."""
    start_tables = glove.new_tables(words, dim, seed=0)
    weights = [
        nn.Parameter(torch.from_numpy(start_tables[name]).share_memory_()) for name in ("focus", "context")
    ]
    optimizer = torch.optim.Adagrad(weights, lr=rate, initial_accumulator_value=1.0, eps=0.0)
    optimizer.share_memory()  # the squares, too
    go, up = CONTEXT.Event(), CONTEXT.Semaphore(0)
    with Group() as group:
        for worker in range(workers):
            mine = [torch.from_numpy(np.ascontiguousarray(column[worker::workers])) for column in pairs]
            group.start(_work, weights, optimizer, mine, batch, worker, go, up)
        for _ in range(workers):
            while not up.acquire(timeout=0.05):
                group.poll()
        start = time.perf_counter()
        go.set()
        group.results()
    seconds = time.perf_counter() - start
    return {n: w.detach().numpy() for n, w in zip(("focus", "context"), weights, strict=True)}, seconds


def _work(weights, optimizer, pairs, batch: int, seed: int, go, up) -> None:
    torch.set_num_threads(1)
    _warm_up()
    generator = torch.Generator().manual_seed(seed)
    up.release()
    go.wait()
    for chosen in torch.randperm(len(pairs[2]), generator=generator).split(batch):
        first, second, counts = (column[chosen] for column in pairs)
        focus, context = (
            embedding(rows.long(), w, sparse=True) for rows, w in zip((first, second), weights, strict=True)
        )
        errors = (focus[:, :-1] * context[:, :-1]).sum(1) + focus[:, -1] + context[:, -1] - counts.log()
        optimizer.zero_grad()
        ((counts / glove.X_MAX).pow(glove.POWER).clamp(max=1) * errors.square()).sum().backward()
        optimizer.step()
