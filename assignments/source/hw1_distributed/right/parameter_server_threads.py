# replaces: parameter_server.py
# method: a thread per worker on the server, a lock for the table, a condition for the bound
import threading

import torch
import torch.distributed as dist


def serve(table, workers, bound=None):
    changed = threading.Condition()
    clocks = [None] + [0] * workers  # None: gone
    failed, broken = [], []

    def slowest():
        return min(clock for clock in clocks if clock is not None)

    def one_worker(rank):
        while True:
            header = torch.zeros(2, dtype=torch.int64)
            dist.recv(header, src=rank)
            what, n = int(header[0]), int(header[1])
            if what >= 2:
                with changed:
                    clocks[rank] = None
                    if what == 3:
                        failed.append(rank)
                    changed.notify_all()
                return
            rows = torch.zeros(n, dtype=torch.int64)
            if n > 0:
                dist.recv(rows, src=rank)
            if what == 0:  # pull
                with changed:
                    if bound is not None:
                        changed.wait_for(lambda: clocks[rank] <= slowest() + bound)
                    found = table[rows].clone()
                if n > 0:
                    dist.send(found, dst=rank)
            else:  # push
                delta = torch.zeros((n, table.size(1)), dtype=table.dtype)
                if n > 0:
                    dist.recv(delta, src=rank)
                with changed:
                    table.index_put_((rows,), delta, accumulate=True)
                    clocks[rank] += 1
                    changed.notify_all()

    def safely(rank):
        try:
            one_worker(rank)
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=safely, args=(rank,), daemon=True) for rank in range(1, workers + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
    if failed:
        raise RuntimeError(f"failed ranks: {', '.join(map(str, sorted(failed)))}")


class Client:
    def __init__(self, width, dtype=torch.float32):
        self.width = width
        self.dtype = dtype

    def pull(self, rows):
        n = rows.numel()
        dist.send(torch.tensor([0, n]), dst=0)
        answer = torch.zeros((n, self.width), dtype=self.dtype)
        if n > 0:
            dist.send(rows, dst=0)
            dist.recv(answer, src=0)
        return answer

    def push(self, rows, change):
        n = rows.numel()
        dist.send(torch.tensor([1, n]), dst=0)
        if n > 0:
            dist.send(rows, dst=0)
            dist.send(change.contiguous(), dst=0)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        dist.send(torch.tensor([2 if kind is None else 3, 0]), dst=0)
