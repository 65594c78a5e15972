# replaces: allreduce.py
# caught by: ring_spreads_the_load
# mistake: rank 0 collects, averages and sends back: as many bytes in all, most of them over one link
# needs: namespaces, without which nobody counts what the ranks send
import torch
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    mine = send.contiguous()
    if rank == 0:
        received = torch.empty_like(mine)
        for other in range(1, size):
            dist.recv(received, other)
            mine += received
        mine /= size
        for other in range(1, size):
            dist.send(mine, other)
    else:
        dist.send(mine, 0)
        dist.recv(mine, 0)
    send.copy_(mine)
