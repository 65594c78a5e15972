"""A model of one training step: backward fills buckets while full ones travel."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """When backward computed each bucket's gradients, and when each was sent: (start, end) in seconds."""

    computed: list[tuple[float, float]]
    sent: list[tuple[float, float]]

    @property
    def end(self) -> float:
        """When both are done."""
        return max(self.computed[-1][1], self.sent[-1][1])


def step(backward: float, buckets: int, alpha: float, transfer: float, overlap: bool = True) -> Step:
    """A backward pass of `backward` seconds whose gradients travel in `buckets` equal buckets, one after another.

    An all-reduce has a fixed cost of `alpha` seconds; all bytes together take `transfer` seconds.
    """
    computed = [(backward * k / buckets, backward * (k + 1) / buckets) for k in range(buckets)]
    sent: list[tuple[float, float]] = []
    free = 0.0 if overlap else backward
    for _, ready in computed:
        start = max(free, ready)
        free = start + alpha + transfer / buckets
        sent.append((start, free))
    return Step(computed, sent)
