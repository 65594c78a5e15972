"""A class with state, which the checks use through a driver."""

import torch


class Meter:
    """The mean and the population variance of every number seen so far."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, 0.0, 0.0

    def update(self, values: torch.Tensor) -> None:
        """Take a batch of numbers into account."""
        values = values.double()
        self.count += values.numel()
        self.total += float(values.sum())
        self.squares += float((values * values).sum())

    def read(self) -> tuple[float, float]:
        """Return mean and variance."""
        mean = self.total / self.count
        return mean, self.squares / self.count - mean * mean
