# replaces: allreduce.py
# caught by: ring_takes_any_length
# mistake: cuts chunks of length // size and forgets what is left over
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    flat = send.view(-1)
    length = len(flat) // size
    if size == 1 or length == 0:
        return
    chunks = flat[: length * size].view(size, length)
    for step in range(2 * (size - 1)):
        outgoing, target = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(target)
        request = dist.isend(outgoing, (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        request.wait()
        target.copy_(target + received if step < size - 1 else received)
    chunks /= size
