# replaces: parameter_server.py
# method: a request is a header and one message of bytes; the server holds no pull, it says `later` and is asked again
import time

import torch
import torch.distributed as dist

NOW, LATER = 1, 0


def _pack(*tensors):
    return torch.cat([tensor.contiguous().view(-1).view(torch.uint8) for tensor in tensors])


class _Server:
    def __init__(self, table, workers, bound):
        self.table, self.bound = table, bound
        self.clock = {rank: 0 for rank in range(1, workers + 1)}
        self.failed = []

    def pull(self, rank, body):
        ahead = self.clock[rank] - min(self.clock.values())
        if self.bound is not None and ahead > self.bound:
            dist.send(torch.tensor([LATER]), rank)
            return
        dist.send(torch.tensor([NOW]), rank)
        if len(body):
            dist.send(self.table[body.view(torch.int64)], rank)

    def push(self, rank, body):
        self.clock[rank] += 1
        row_bytes = self.table.size(1) * self.table.element_size()
        n = len(body) // (8 + row_bytes)
        rows = body[: 8 * n].clone().view(torch.int64)
        change = body[8 * n :].clone().view(self.table.dtype).view(n, -1) if n else []
        for row, delta in zip(rows.tolist(), change, strict=True):
            self.table[row] += delta

    def leave(self, rank, body):
        self.clock.pop(rank)

    def fail(self, rank, body):
        self.leave(rank, body)
        self.failed.append(rank)


def serve(table, workers, bound=None):
    server = _Server(table, workers, bound)
    actions = [server.pull, server.push, server.leave, server.fail]
    while server.clock:
        head = torch.zeros(2, dtype=torch.long)
        rank = dist.recv(head)
        body = torch.zeros(int(head[1]), dtype=torch.uint8)
        if len(body):
            dist.recv(body, rank)
        actions[int(head[0])](rank, body)
    if server.failed:
        raise RuntimeError(f"workers failed: ranks {server.failed}")


class Client:
    def __init__(self, width, dtype=torch.float32):
        self.width, self.dtype = width, dtype

    def _request(self, action, body=None):
        length = 0 if body is None else len(body)
        dist.send(torch.tensor([action, length]), 0)
        if length:
            dist.send(body, 0)

    def pull(self, rows):
        word = torch.tensor([LATER])
        while word == LATER:
            self._request(0, _pack(rows))
            dist.recv(word, 0)
            if word == LATER:
                time.sleep(0.01)
        result = torch.zeros(len(rows), self.width, dtype=self.dtype)
        if len(rows):
            dist.recv(result, 0)
        return result

    def push(self, rows, change):
        self._request(1, _pack(rows, change))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self._request(3 if kind else 2)
