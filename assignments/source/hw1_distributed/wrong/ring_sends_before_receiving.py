# replaces: allreduce.py
# caught by: ring_moves_the_least
# mistake: every rank blocks in send while nobody receives: a deadlock once the sockets are full
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    chunks = send.view(-1).tensor_split(size)
    for step in range(2 * (size - 1)):
        outgoing, target = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(target)
        dist.send(outgoing, (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        target.copy_(target + received if step < size - 1 else received)
    send /= size
