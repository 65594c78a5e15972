# replaces: allreduce.py
# caught by: ring_respects_the_layout
# mistake: reshape copies a tensor with strides; the result never reaches the caller
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    flat = send.reshape(-1)
    chunks = flat.tensor_split(size)
    for step in range(2 * (size - 1)):
        outgoing, target = chunks[(rank - step) % size], chunks[(rank - step - 1) % size]
        received = torch.empty_like(target)
        request = dist.isend(outgoing, (rank + 1) % size)
        dist.recv(received, (rank - 1) % size)
        request.wait()
        target.copy_(target + received if step < size - 1 else received)
    flat /= size
