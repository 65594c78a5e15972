# replaces: allreduce.py
# caught by: ring_moves_the_least
# mistake: everybody sends everything to everybody: n (n - 1) tensor sizes
# needs: namespaces, without which nobody counts what the ranks send
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    others = [other for other in range(size) if other != rank]
    mine = send.contiguous().clone()
    requests = [dist.isend(mine, other) for other in others]
    total = mine.clone()
    for other in others:
        received = torch.empty_like(mine)
        dist.recv(received, other)
        total += received
    for request in requests:
        request.wait()
    send.copy_(total / size)
