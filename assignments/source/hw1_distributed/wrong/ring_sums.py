# replaces: allreduce.py
# caught by: ring_returns_the_mean
# mistake: returns the sum, not the mean
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    chunks = send.view(-1).tensor_split(size)
    for step in range(2 * (size - 1)):
        outgoing, target = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(target)
        request = dist.isend(outgoing, (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        request.wait()
        if step < size - 1:
            target += received
        else:
            target.copy_(received)
