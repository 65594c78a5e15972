# replaces: allreduce.py
# method: blocking send and recv; even ranks send first and odd ranks receive first; chunks of tensor_split
import torch
import torch.distributed as dist


def exchange(outgoing, incoming, rank, size):
    right, left = (rank + 1) % size, (rank - 1 + size) % size
    if rank % 2 == 0:
        dist.send(outgoing, right)
        dist.recv(incoming, left)
    else:
        dist.recv(incoming, left)
        dist.send(outgoing, right)


@torch.no_grad()
def ring_allreduce(send, rank, size):
    if size < 2:
        return
    work = send.contiguous().view(-1)  # a copy where send has strides
    chunks = list(work.tensor_split(size))

    # reduce-scatter
    for step in range(size - 1):
        out, into = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(into)
        exchange(out, received, rank, size)
        into.add_(received)

    # this rank has the whole sum of the chunk rank + 1
    chunks[(rank + 1) % size].div_(size)

    # all-gather
    for step in range(size - 1):
        exchange(chunks[(rank + 1 - step) % size], chunks[(rank - step) % size], rank, size)

    if work.data_ptr() != send.data_ptr():
        send.copy_(work.view_as(send))
