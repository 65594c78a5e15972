import os
import random

import torch
import torch.distributed as dist
from torch.multiprocessing import Process


def init_process(rank, size, fn, master_port, backend="gloo"):
    """Initialize the distributed environment."""
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(master_port)
    dist.init_process_group(backend, rank=rank, world_size=size)
    fn(rank, size)


def butterfly_allreduce(send, rank, size):
    """All-Reduce of a tensor with as many elements as there are processes."""
    buffer_for_chunk = torch.empty((size,), dtype=torch.float)

    send_futures = []
    for i, elem in enumerate(send):
        if i != rank:
            send_futures.append(dist.isend(elem, i))
    recv_futures = []
    for i, elem in enumerate(buffer_for_chunk):
        if i != rank:
            recv_futures.append(dist.irecv(elem, i))
        else:
            elem.copy_(send[i])
    for future in recv_futures:
        future.wait()
    torch.mean(buffer_for_chunk, dim=0, out=send[rank])
    for future in send_futures:
        future.wait()

    send_futures = []
    for i in range(size):
        if i != rank:
            send_futures.append(dist.isend(send[rank], i))
    recv_futures = []
    for i, elem in enumerate(send):
        if i != rank:
            recv_futures.append(dist.irecv(elem, i))
    for future in recv_futures + send_futures:
        future.wait()


def ring_allreduce(send, rank, size):
    """Ring All-Reduce: averages `send` over all processes, in place."""
    flat = send.contiguous().flatten()  # a copy for tensors with strides
    bounds = [len(flat) * i // size for i in range(size + 1)]
    chunks = [flat[bounds[i] : bounds[i + 1]] for i in range(size)]
    left, right = (rank - 1) % size, (rank + 1) % size

    for step in range(size - 1):
        src, dst = (rank - step) % size, (rank - step - 1) % size
        buffer = torch.empty_like(chunks[dst])
        send_future = dist.isend(chunks[src].clone(), right)
        recv_future = dist.irecv(buffer, left)
        recv_future.wait()
        send_future.wait()
        chunks[dst] += buffer
    chunks[(rank + 1) % size] /= size
    for step in range(size - 1):
        src, dst = (rank + 1 - step) % size, (rank - step) % size
        send_future = dist.isend(chunks[src].clone(), right)
        recv_future = dist.irecv(chunks[dst], left)
        recv_future.wait()
        send_future.wait()
    send.copy_(flat.reshape(send.shape))


def run_allreduce(rank, size):
    """Simple point-to-point communication."""
    torch.manual_seed(rank)
    tensor = torch.randn((size,), dtype=torch.float)
    print("Rank ", rank, " has data ", tensor)
    butterfly_allreduce(tensor, rank, size)
    ring_allreduce(tensor, rank, size)
    print("Rank ", rank, " has data ", tensor)


if __name__ == "__main__":
    size = 5
    processes = []
    port = random.randint(25000, 30000)
    for rank in range(size):
        p = Process(target=init_process, args=(rank, size, run_allreduce, port))
        p.start()
        processes.append(p)
    for p in processes:
        p.join()
