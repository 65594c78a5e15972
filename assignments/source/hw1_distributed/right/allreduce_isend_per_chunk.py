# replaces: allreduce.py
# method: isend and a blocking recv, chunks by start and end, mean as a running mean of what arrived
import torch
import torch.distributed as dist


@torch.no_grad()
def ring_allreduce(send, rank, size):
    values = send.flatten().clone()
    n = values.numel()
    bounds = [i * n // size for i in range(size + 1)]

    def chunk(k):
        k %= size
        return values[bounds[k] : bounds[k + 1]]

    def shift(k_out, k_in):
        """Send one chunk to the right; return the one from the left."""
        request = dist.isend(chunk(k_out), (rank + 1) % size)
        arrived = torch.empty_like(chunk(k_in))
        dist.recv(arrived, (rank - 1) % size)
        request.wait()
        return arrived

    for step in range(1, size):
        k = rank - step
        arrived = shift(k + 1, k)  # the mean of `step` ranks
        chunk(k).lerp_(arrived, step / (step + 1))
    for step in range(1, size):
        k = rank + 1 - step
        chunk(k).copy_(shift(k + 1, k))
    send.copy_(values.reshape(send.shape))
