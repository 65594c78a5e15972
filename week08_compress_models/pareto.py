"""Points of several costs, and those that no other point beats."""

from collections.abc import Sequence


def dominated_by(points: Sequence[Sequence[float]]) -> list[int | None]:
    """For each point the number of one that is nowhere worse and somewhere better, or None. Lower is better."""
    found: list[int | None] = []
    for mine in points:
        better = (
            place
            for place, other in enumerate(points)
            if all(a <= b for a, b in zip(other, mine, strict=True)) and tuple(other) != tuple(mine)
        )
        found.append(next(better, None))
    return found


def front(points: Sequence[Sequence[float]]) -> list[int]:
    """The numbers of the points that no other dominates, in order; equal points are all in it, or none is."""
    return [place for place, by in enumerate(dominated_by(points)) if by is None]
