"""A queue in which a client that floods costs only itself."""

import heapq
import itertools
from collections import deque
from collections.abc import Mapping
from typing import Any


class FairQueue:
    """Items of many clients, which come out by turns and not in the order in which they came in."""

    def __init__(self, weights: Mapping[str, int] | None = None):
        """A client of weight 2 gets twice the turns of one of weight 1, which is that of all who are not named."""
        ### BEGIN SOLUTION
        self._weights = dict(weights or {})
        self._items: dict[str, deque] = {}  # of clients that have any
        self._heads: list[tuple[float, int, str]] = []  # start tags of their first items
        self._finish: dict[str, float] = {}  # of the item that each client got last
        self._now = 0.0  # the start tag of the item that came out last
        self._order = itertools.count()
        ### END SOLUTION

    def push(self, client: str, item: Any) -> None:
        """Put an item of this client behind its others."""
        ### BEGIN SOLUTION
        if client not in self._items:
            self._items[client] = deque()
            self._head(client, max(self._now, self._finish.get(client, 0.0)))
        self._items[client].append(item)
        ### END SOLUTION

    def pop(self) -> tuple[str, Any]:
        """Take out an item, and return (client, item); raises IndexError where there is none.

        A client's items come in the order in which it pushed them. While two clients a and b both have items all
        the time, the numbers n that come out in between hold |n_a / w_a - n_b / w_b| <= 1 / w_a + 1 / w_b,
        for every stretch of time. Who was away has saved up nothing.
        """
        ### BEGIN SOLUTION
        self._now, _, client = heapq.heappop(self._heads)
        item = self._items[client].popleft()
        finish = self._now + 1 / self._weights.get(client, 1)
        self._finish[client] = finish
        if self._items[client]:
            self._head(client, finish)
        else:
            del self._items[client]
        return client, item
        ### END SOLUTION

    def __len__(self) -> int:
        """Return how many items there are."""
        ### BEGIN SOLUTION
        return sum(map(len, self._items.values()))
        ### END SOLUTION

    ### BEGIN SOLUTION
    def _head(self, client: str, start: float) -> None:
        """Let this client's first item come out when its start tag is the lowest; the earlier one of equals."""
        heapq.heappush(self._heads, (start, next(self._order), client))

    ### END SOLUTION
