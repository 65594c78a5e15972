"""A parameter server: one process owns the model, the others ask it for rows and send it changes.

Rank 0 of the default process group serves, the other ranks are its workers. Only `dist.send` and `dist.recv` (or
`isend` and `irecv`) are used. Li et al., Scaling Distributed Machine Learning with the Parameter Server, OSDI 2014;
Ho et al., More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server, NIPS 2013.
"""

import torch
import torch.distributed as dist

### BEGIN SOLUTION
PULL, PUSH, LEAVE, FAIL = range(4)
### END SOLUTION


def serve(table: torch.Tensor, workers: int, bound: int | None = None) -> None:
    """Answer ranks 1 .. workers until each of them has left; `table` [rows, width] then holds all their changes.

    Whoever asks first is served first; nobody waits for another worker, unless `bound` is a number. Then a pull
    waits while its worker has pushed more than `bound` times more often than the worker, among those that
    have not left, that has pushed least often (a worker from which nothing has come yet has pushed 0 times).

    A worker that fails is treated like one that leaves. When all have gone, serve raises RuntimeError with
    the ranks of those that failed, if there are any.
    """
    ### BEGIN SOLUTION
    clocks = dict.fromkeys(range(1, workers + 1), 0)
    waiting: dict[int, torch.Tensor] = {}  # rows of the pulls that are not answered yet
    failed = []
    header = torch.zeros(2, dtype=torch.int64)
    while clocks:
        rank = dist.recv(header)
        kind, count = header.tolist()
        if kind in (LEAVE, FAIL):
            del clocks[rank]
            failed += [rank] * (kind == FAIL)
        else:
            rows = _receive(rank, torch.empty(count, dtype=torch.int64))
            if kind == PUSH:
                change = _receive(rank, torch.empty(count, table.shape[1], dtype=table.dtype))
                table.index_add_(0, rows, change)
                clocks[rank] += 1
            else:
                waiting[rank] = rows
        slowest = min(clocks.values(), default=0)
        for one in [one for one in waiting if bound is None or clocks[one] - slowest <= bound]:
            _send(one, table[waiting.pop(one)])
    if failed:
        raise RuntimeError(f"worker failed: rank {', '.join(map(str, sorted(failed)))}")
    ### END SOLUTION


class Client:
    """A worker's side of the server on rank 0. To be used as `with Client(width) as server:`."""

    def __init__(self, width: int, dtype: torch.dtype = torch.float32):
        """`width` and `dtype` are those of the server's table."""
        self.width, self.dtype = width, dtype

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of the table whose numbers stand in `rows` (int64 [n], n may be 0): [n, width], a copy."""
        ### BEGIN SOLUTION
        dist.send(torch.tensor([PULL, len(rows)]), dst=0)
        _send(0, rows)
        return _receive(0, torch.empty(len(rows), self.width, dtype=self.dtype))
        ### END SOLUTION

    def push(self, rows: torch.Tensor, change: torch.Tensor) -> None:
        """Add `change` [n, width] to the rows of the table; a row that `rows` [n] names twice gets both changes."""
        ### BEGIN SOLUTION
        dist.send(torch.tensor([PUSH, len(rows)]), dst=0)
        _send(0, rows)
        _send(0, change)
        ### END SOLUTION

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        """Tell the server that this worker leaves, or that it failed; `kind` is None unless the block raised."""
        ### BEGIN SOLUTION
        dist.send(torch.tensor([LEAVE if kind is None else FAIL, 0]), dst=0)
        ### END SOLUTION


### BEGIN SOLUTION
def _send(rank: int, tensor: torch.Tensor) -> None:
    if tensor.numel():
        dist.send(tensor.contiguous(), dst=rank)


def _receive(rank: int, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.numel():
        dist.recv(tensor, src=rank)
    return tensor


### END SOLUTION
