"""First steps with `torch.distributed`: what a rank knows, who waits for whom, what a message costs."""

import os
import time

import torch
import torch.distributed as dist


def join_by_hand() -> str:
    """Join the process group as a program under torchrun does: everything it needs stands in the environment."""
    names = ("MASTER_ADDR", "WORLD_SIZE", "RANK", "LOCAL_RANK")
    print({name: os.environ[name] for name in names})
    dist.init_process_group("gloo")
    number = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(number)
    return f"rank {dist.get_rank()} of {dist.get_world_size()} knows the sum {number.item():g}"


def both_send_first(nbytes: int) -> float:
    """Two ranks exchange tensors, and both begin with `send`."""
    other, mine = 1 - dist.get_rank(), torch.full((nbytes // 4,), float(dist.get_rank()))
    theirs = torch.empty_like(mine)
    dist.send(mine, other)
    dist.recv(theirs, other)
    return float(theirs[0])


def both_send_and_receive(nbytes: int) -> float:
    """The same exchange without an order: both messages are on their way before either rank waits."""
    other, mine = 1 - dist.get_rank(), torch.full((nbytes // 4,), float(dist.get_rank()))
    theirs = torch.empty_like(mine)
    messages = [dist.irecv(theirs, other), dist.isend(mine, other)]
    for message in messages:
        message.wait()
    return float(theirs[0])


def read_too_early(seconds: float) -> tuple[float, float]:
    """What rank 1 finds in a tensor before and after it has waited for the message.

    Rank 0 sends late: `seconds` after rank 1 has looked.
    """
    tensor = torch.zeros(1)
    if dist.get_rank() == 0:
        dist.barrier()
        time.sleep(seconds)
        dist.send(tensor + 7, 1)
        return 7.0, 7.0
    message = dist.irecv(tensor, 0)
    before = float(tensor)
    dist.barrier()
    message.wait()
    return before, float(tensor)


def ping_pong(sizes: list[int], repeats: int) -> dict[int, list[float]]:
    """Seconds of one message, {bytes: samples}: half of the time that it takes there and back. For two ranks."""
    other, found = 1 - dist.get_rank(), {nbytes: [] for nbytes in sizes}
    tensors = {nbytes: torch.zeros(nbytes // 4) for nbytes in sizes}
    order = list(tensors.items())
    for turn in range(-1, repeats):  # turn -1 opens connections and touches memory
        for nbytes, tensor in order:
            dist.barrier()
            begin = time.perf_counter()
            for call in (dist.send, dist.recv) if other == 1 else (dist.recv, dist.send):
                call(tensor, other)
            if turn >= 0:
                found[nbytes].append((time.perf_counter() - begin) / 2)
        order.reverse()  # else the smallest would always follow the largest, with cold caches
    return found
