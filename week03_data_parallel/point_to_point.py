"""Execute a schedule with point-to-point messages: `isend` and `irecv`, nothing else."""

import time

import torch
import torch.distributed as dist

from week03_data_parallel.schedules import Message, Schedule


def execute(schedule: Schedule, tensor: torch.Tensor, link: "SlowLink | None" = None) -> None:
    """Replace `tensor` by its sum over the ranks of the default group. It must be contiguous.

    `link` slows every round down to the speed of a network.
    """
    rank = dist.get_rank()
    length, longer = divmod(
        tensor.numel(), schedule.chunks
    )  # the first `longer` chunks hold one element more
    starts = [chunk * length + min(chunk, longer) for chunk in range(schedule.chunks + 1)]
    flat = tensor.view(-1)
    for messages in schedule.rounds:
        outgoing = [(m, flat[starts[m.start] : starts[m.stop]]) for m in messages if m.source == rank]
        incoming = [(m, flat[starts[m.start] : starts[m.stop]]) for m in messages if m.target == rank]
        begin = time.perf_counter()
        arrived = _exchange(outgoing, incoming)
        if link:
            link.wait(begin, outgoing, incoming)
        for m, mine, new in arrived:
            if m.add:
                mine += new
            else:
                mine.copy_(new)


def _exchange(
    outgoing: list[tuple[Message, torch.Tensor]], incoming: list[tuple[Message, torch.Tensor]]
) -> list[tuple[Message, torch.Tensor, torch.Tensor]]:
    """Send and receive all messages of one round. What arrives waits in new memory until the sends are done."""
    arrived = [(m, mine, torch.empty_like(mine)) for m, mine in incoming if mine.numel()]
    # Each rank asks for what arrives before it waits for a send, so no two ranks wait for each other.
    work = [dist.irecv(new, m.source) for m, _, new in arrived]
    work += [dist.isend(part, m.target) for m, part in outgoing if part.numel()]
    for item in work:
        item.wait()
    return arrived


class SlowLink:
    """A network port with a latency of `alpha` seconds and `beta` seconds per byte, one message at a time.

    The loopback of one machine is no network: all ranks share its processor. With this link a rank sleeps for the
    time that the network would take, and sleeping ranks do not disturb each other.
    """

    def __init__(self, alpha: float, beta: float):
        self.alpha, self.beta = alpha, beta

    def seconds(self, messages: int, nbytes: int) -> float:
        """Time of `messages` messages of `nbytes` in all, one after another."""
        return self.alpha * messages + self.beta * nbytes

    def wait(self, begin: float, outgoing: list, incoming: list) -> None:
        """Sleep until `begin` plus the time that the port needs for the slower of its two directions."""
        needed = max(self.seconds(len(part), sum(t.nbytes for _, t in part)) for part in (outgoing, incoming))
        time.sleep(max(0.0, begin + needed - time.perf_counter()))
