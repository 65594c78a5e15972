# replaces: allreduce.py
# caught by: ring_spreads_the_load
# mistake: leaves the work to the collective that it should be
import torch.distributed as dist


def ring_allreduce(send, rank, size):
    mine = send.contiguous()
    dist.all_reduce(mine)
    send.copy_(mine / size)
