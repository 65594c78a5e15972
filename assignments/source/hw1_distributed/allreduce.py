"""Average a tensor over all processes with point-to-point messages only.

Try it, in the repository: .venv/bin/torchrun --nproc-per-node 4 hw1_distributed/allreduce.py
"""

import os

import torch
import torch.distributed as dist


@torch.no_grad()
def ring_allreduce(send: torch.Tensor, rank: int, size: int) -> None:
    """Replace `send`, in place, by its mean over all ranks (ring all-reduce, Patarasuk & Yuan 2009).

    `send` has the same shape and floating-point dtype on every rank; any number of dimensions, any strides,
    any number of elements, also fewer than `size`. Only point-to-point messages: `dist.send`, `recv`,
    `isend`, `irecv`, `batch_isend_irecv`. Every rank sends at most 2 (size - 1) / size of the tensor, plus
    what is left over when the length does not divide by `size`.

    Arguments: the tensor, `rank` of this process, `size` of the default process group.
    """
    ### BEGIN SOLUTION
    if size == 1:
        return
    buffer = send.contiguous().view(-1)  # the tensor's own memory, or a copy where its strides forbid that
    chunks = buffer.tensor_split(size)  # lengths differ by one at most; short tensors leave some empty
    incoming = torch.empty_like(chunks[0])  # the first chunk is never shorter than another
    # Reduce-scatter: after size - 1 steps this rank holds the whole sum of chunk rank + 1.
    for step in range(size - 1):
        target = chunks[(rank - step - 1) % size]
        received = incoming[: target.numel()]
        _exchange(chunks[(rank - step) % size], received, rank, size)
        target += received
    chunks[(rank + 1) % size].div_(size)
    # All-gather: the finished chunks walk around the ring.
    for step in range(size - 1):
        _exchange(chunks[(rank - step + 1) % size], chunks[(rank - step) % size], rank, size)
    if buffer.data_ptr() != send.data_ptr():
        send.copy_(buffer.view(send.shape))
    ### END SOLUTION


### BEGIN SOLUTION
def _exchange(outgoing: torch.Tensor, incoming: torch.Tensor, rank: int, size: int) -> None:
    """Send `outgoing` to the next rank while `incoming` arrives from the previous one."""
    # A chunk is empty on both of its ends, so both skip the message.
    messages = []
    if outgoing.numel():
        messages.append(dist.P2POp(dist.isend, outgoing, (rank + 1) % size))
    if incoming.numel():
        messages.append(dist.P2POp(dist.irecv, incoming, (rank - 1) % size))
    for message in dist.batch_isend_irecv(messages) if messages else []:
        message.wait()


### END SOLUTION


if __name__ == "__main__":
    local_rank = int(os.environ["LOCAL_RANK"])
    dist.init_process_group(backend="gloo", rank=local_rank, world_size=int(os.environ["WORLD_SIZE"]))
    tensor = torch.full((5,), float(local_rank))
    ring_allreduce(tensor, local_rank, dist.get_world_size())
    print(f"rank {local_rank}: {tensor.tolist()}", flush=True)
    dist.destroy_process_group()
