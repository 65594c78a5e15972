"""A ring all-reduce that keeps the wire busy: each chunk travels in segments, and the next one is already awaited."""

import torch
import torch.distributed as dist

SEGMENT = 8 * 2**20
"""Bytes of a segment. Shorter ones cost more messages; longer ones leave the wire idle while a rank adds."""


class RingSum:
    """Sum of a contiguous tensor over a group (by default all ranks), in place, with `isend` and `irecv` only.

    One object serves tensors of one shape and dtype again and again; it holds memory for two segments.
    """

    def __init__(self, like: torch.Tensor, segment: int = SEGMENT, group: dist.ProcessGroup | None = None):
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        ranks = dist.get_process_group_ranks(group)  # the ring goes around the group, by global rank
        self.left, self.right = ranks[self.rank - 1], ranks[(self.rank + 1) % self.world]
        self.pieces = max(1, round(like.nbytes / self.world / segment))
        longest = like.view(-1).tensor_split(self.world)[0].tensor_split(self.pieces)[0]
        self.landing = [torch.empty_like(longest) for _ in range(2)]

    def plan(self) -> list[tuple[int, int, bool]]:
        """(chunk, piece, add?) of everything this rank receives, in order.

        Phase one, *reduce-scatter*: the chunks of rank - 1, rank - 2, ... arrive and are added. Phase two,
        *all-gather*: finished chunks arrive and replace. What arrives in one step leaves in the next.
        """
        steps = range(2 * (self.world - 1))
        return [
            ((self.rank - 1 - step) % self.world, piece, step < self.world - 1)
            for step in steps
            for piece in range(self.pieces)
        ]

    def __call__(self, tensor: torch.Tensor) -> None:
        """Replace `tensor` by its sum over all ranks."""
        if self.world == 1:
            return
        plan, chunks = self.plan(), tensor.view(-1).tensor_split(self.world)
        parts = [chunk.tensor_split(self.pieces) for chunk in chunks]
        sends = [_send(part, self.right) for part in parts[self.rank]]
        expected = [self._receive(0, plan, parts, sends)]
        for i, (chunk, piece, add) in enumerate(plan):
            # A message whose receiver is already waiting leaves at once: ask for the next before this one arrives.
            if i + 1 < len(plan):
                expected.append(self._receive(i + 1, plan, parts, sends))
            _wait(expected[i])
            mine = parts[chunk][piece]
            if add:
                mine += self.landing[i % 2][: mine.numel()]
            if i + self.pieces < len(plan):
                sends.append(_send(mine, self.right))
        for send in sends:
            _wait(send)

    def _receive(self, i: int, plan: list, parts: list, sends: list) -> dist.Work | None:
        chunk, piece, add = plan[i]
        mine = parts[chunk][piece]
        if not add:
            # The old content of this place must have left. It was the send of the same step of phase one.
            sent = i - (self.world - 1) * self.pieces
            _wait(sends[sent])
            sends[sent] = None  # a message must not be awaited twice
        landing = self.landing[i % 2][: mine.numel()] if add else mine
        return dist.irecv(landing, self.left) if mine.numel() else None


def _send(part: torch.Tensor, target: int) -> dist.Work | None:
    return dist.isend(part, target) if part.numel() else None


def _wait(work: dist.Work | None) -> None:
    if work is not None:
        work.wait()
