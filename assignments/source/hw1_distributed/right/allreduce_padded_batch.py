# replaces: allreduce.py
# method: a padded copy with equal chunks, batch_isend_irecv, divided at the start
import os

import torch
import torch.distributed as dist


@torch.no_grad()
def ring_allreduce(send, rank, size):
    if size == 1 or send.numel() == 0:
        return
    flat = send.reshape(-1) / size
    padding = -flat.numel() % size
    buffer = torch.cat([flat, flat.new_zeros(padding)]).view(size, -1)
    right, left = (rank + 1) % size, (rank - 1) % size
    incoming = torch.empty_like(buffer[0])
    for step in range(2 * (size - 1)):
        outgoing = buffer[(rank - step) % size]
        target = buffer[(rank - step - 1) % size]
        works = dist.batch_isend_irecv(
            [dist.P2POp(dist.isend, outgoing, right), dist.P2POp(dist.irecv, incoming, left)]
        )
        for work in works:
            work.wait()
        if step < size - 1:
            target += incoming
        else:
            target.copy_(incoming)
    send.copy_(buffer.view(-1)[: send.numel()].view(send.shape))


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(backend="gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    tensor = torch.full((5,), float(local_rank))
    ring_allreduce(tensor, local_rank, dist.get_world_size())
    print(f"rank {local_rank}: {tensor.tolist()}", flush=True)
    dist.destroy_process_group()
