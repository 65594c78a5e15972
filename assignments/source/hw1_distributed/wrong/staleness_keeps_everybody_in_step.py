# replaces: parameter_server.py
# caught by: a_worker_stops_at_the_bound
# mistake: knows lock-step only, whatever the bound
import torch
import torch.distributed as dist

PULL, PUSH, LEAVE, FAIL = range(4)


def serve(table: torch.Tensor, workers: int, bound: int | None = None) -> None:
    clocks = dict.fromkeys(range(1, workers + 1), 0)
    waiting: dict[int, torch.Tensor] = {}
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
        for one in [one for one in waiting if bound is None or clocks[one] - slowest <= 0]:
            _send(one, table[waiting.pop(one)])
    if failed:
        raise RuntimeError(f"worker failed: rank {', '.join(map(str, sorted(failed)))}")


class Client:
    def __init__(self, width: int, dtype: torch.dtype = torch.float32):
        self.width, self.dtype = (width, dtype)

    def pull(self, rows: torch.Tensor) -> torch.Tensor:
        dist.send(torch.tensor([PULL, len(rows)]), dst=0)
        _send(0, rows)
        return _receive(0, torch.empty(len(rows), self.width, dtype=self.dtype))

    def push(self, rows: torch.Tensor, change: torch.Tensor) -> None:
        dist.send(torch.tensor([PUSH, len(rows)]), dst=0)
        _send(0, rows)
        _send(0, change)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        dist.send(torch.tensor([LEAVE if kind is None else FAIL, 0]), dst=0)


def _send(rank: int, tensor: torch.Tensor) -> None:
    if tensor.numel():
        dist.send(tensor.contiguous(), dst=rank)


def _receive(rank: int, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.numel():
        dist.recv(tensor, src=rank)
    return tensor
