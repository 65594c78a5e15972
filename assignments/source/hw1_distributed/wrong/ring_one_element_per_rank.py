# replaces: allreduce.py
# caught by: ring_returns_the_mean
# mistake: takes a chunk to be one element, right only where the length equals the world size
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    for step in range(2 * (size - 1)):
        outgoing, target = (rank - step) % size, (rank - step - 1) % size
        received = torch.empty_like(send[target])
        request = dist.isend(send[outgoing].clone(), (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        request.wait()
        send[target] = send[target] + received if step < size - 1 else received
    send /= size
