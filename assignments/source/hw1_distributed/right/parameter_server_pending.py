# replaces: parameter_server.py
# method: a push is sent with isend and finished at the next request; pulls that must wait stand in a list
import torch
import torch.distributed as dist

PULL, PUSH, LEAVE, FAIL = range(4)


def serve(table, workers, bound=None):
    clocks = {rank: 0 for rank in range(1, workers + 1)}
    failed, pending = [], []

    def may_go(rank):
        return bound is None or clocks[rank] - min(clocks.values()) <= bound

    def answer(rank, rows):
        if len(rows):
            dist.send(table[rows].contiguous(), rank)

    while clocks:
        header = torch.empty(2, dtype=torch.int64)
        rank = dist.recv(header)
        kind, n = header.tolist()
        if kind == PULL:
            rows = torch.empty(n, dtype=torch.int64)
            if n:
                dist.recv(rows, rank)
            pending.append((rank, rows))
        elif kind == PUSH:
            clocks[rank] += 1
            if n:
                rows = torch.empty(n, dtype=torch.int64)
                change = torch.empty(n, table.shape[1], dtype=table.dtype)
                dist.recv(rows, rank)
                dist.recv(change, rank)
                table.index_add_(0, rows, change)
        else:
            del clocks[rank]
            if kind == FAIL:
                failed.append(rank)
        waiting = []
        for rank, rows in pending:
            if may_go(rank):
                answer(rank, rows)
            else:
                waiting.append((rank, rows))
        pending = waiting
    if failed:
        raise RuntimeError(f"these workers failed: {sorted(failed)}")


class Client:
    def __init__(self, width, dtype=torch.float32):
        self.width, self.dtype = width, dtype
        self.under_way = []  # of the last push: its tensors, and what to wait for

    def _finish(self):
        for _, request in self.under_way:
            request.wait()
        self.under_way = []

    def _tell(self, kind, n=0):
        self._finish()
        dist.send(torch.tensor([kind, n]), 0)

    def pull(self, rows):
        self._tell(PULL, len(rows))
        values = torch.empty(len(rows), self.width, dtype=self.dtype)
        if len(rows):
            dist.send(rows.contiguous(), 0)
            dist.recv(values, 0)
        return values

    def push(self, rows, change):
        self._tell(PUSH, len(rows))
        if len(rows):
            for tensor in (torch.clone(rows).contiguous(), change.to(self.dtype, copy=True).contiguous()):
                self.under_way.append((tensor, dist.isend(tensor, 0)))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._tell(LEAVE if kind is None else FAIL)
