"""Answers of no elements: `np.allclose`, `all()` and every loop over them agree with whatever they are held against.

Where the reference gives a test some elements, and a student's code none, the test has looked at nothing.
"""

from __future__ import annotations

from typing import Any

_CONTAINERS = (list, tuple, dict, set, frozenset)


class Nothing:
    """Whether one cell has been answered with an array, a list or an iteration of no elements."""

    def __init__(self) -> None:
        self.met = False
        self._begun: set[int] = set()  # iterators that have been asked for an item

    def look(
        self, head: dict[str, Any], args: tuple[Any, ...], value: Any, error: BaseException | None
    ) -> None:
        """Take note of the answer to one request of the tests' side; of arrays the reader tells."""
        if head["op"] == "call":
            # What is raised ends the loop of a map().
            self.met |= isinstance(error, StopIteration) or (type(value) in _CONTAINERS and not value)
        elif head["op"] == "do" and head["name"] == "next":
            self.met |= isinstance(error, StopIteration) and head["id"] not in self._begun
            self._begun.add(head["id"])
        elif head["op"] == "do" and head["name"] == "getitem":
            self.met |= isinstance(error, IndexError) and args == (0,)
        elif head["op"] == "do" and head["name"] == "len":
            self.met |= type(value) is int and value == 0
