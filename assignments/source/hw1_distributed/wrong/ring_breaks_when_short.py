# replaces: allreduce.py
# caught by: ring_takes_any_length
# mistake: torch.chunk gives fewer chunks than asked for where the tensor is short
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    chunks = send.view(-1).chunk(size)
    for step in range(2 * (size - 1)):
        outgoing, target = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(target)
        request = dist.isend(outgoing, (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        request.wait()
        target.copy_(target + received if step < size - 1 else received)
    send /= size
