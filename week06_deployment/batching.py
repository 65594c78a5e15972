"""A dynamic batcher: requests that wait together go through the model together.

One task takes what waits, decides whether to wait for more, and calls the model. How long to wait is a policy:
:class:`Fixed`, as most servers offer it, or :class:`Adaptive`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol


class Wait(Protocol):
    """How long a batch waits for one more request."""

    def patience(self, size: int, age: float) -> float:
        """Seconds to wait for one more request; 0 or less to start now.

        ``size``: requests in the batch; ``age``: seconds that the oldest of them has waited.
        """
        ...

    def learn(self, came: bool) -> None:
        """Whether a request came within the patience (or would have come)."""

    def took(self, seconds: float) -> None:
        """How long the model took for the batch."""


class Fixed:
    """Wait until the batch is full or its oldest request has waited ``seconds``: Triton's max_queue_delay."""

    def __init__(self, seconds: float):
        self.seconds = seconds

    def patience(self, size: int, age: float) -> float:
        """What is left of the fixed wait."""
        return self.seconds - age

    def learn(self, came: bool) -> None:
        """It learns nothing."""

    def took(self, seconds: float) -> None:
        """It learns nothing."""


class Adaptive:
    """Wait ``gap`` seconds for one more request, if that has lately saved more than it cost.

    Waiting costs each of the ``size`` requests ``gap`` seconds. If a request comes, which happens with the share
    ``hope``, it saves that one the rest of a run of the model, about ``run`` seconds. Both are averages over the
    past in which the last observation weighs a fifth.
    """

    def __init__(self, gap: float = 0.006):
        self.gap, self.hope, self.run = gap, 0.0, 0.0

    def patience(self, size: int, age: float) -> float:
        """The gap, where hope outweighs cost."""
        return self.gap if self.hope * self.run > self.gap * size else 0.0

    def learn(self, came: bool) -> None:
        """Move the hope towards what happened."""
        self.hope += 0.2 * (came - self.hope)

    def took(self, seconds: float) -> None:
        """Move the expected time of a run towards the last one."""
        self.run = seconds if not self.run else self.run + 0.2 * (seconds - self.run)


class Batcher:
    """Collects single requests into batches for ``model``, an async function from a list to a list.

    ``most`` is the largest batch. Raises ValueError if that is not at least 1.
    """

    def __init__(self, model: Callable[[list[Any]], Awaitable[Sequence[Any]]], most: int, wait: Wait):
        if most < 1:
            raise ValueError(f"a batch holds at least one request, not {most}")
        self.model, self.most, self.wait = model, most, wait
        self.waiting: deque[tuple[float, Any, asyncio.Future[Any]]] = deque()
        self.arrived = asyncio.Event()
        self.sizes: list[int] = []

    async def ask(self, item: Any) -> Any:
        """The model's answer to one item. Raises what the model raised for the batch it was in."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((time.perf_counter(), item, answer))
        self.arrived.set()
        return await answer

    async def serve(self) -> None:
        """Form batches and run them, for ever: one task of the server."""
        while True:
            await self._someone()
            batch = await self._gather()
            began = time.perf_counter()
            try:
                answers = await self.model([item for _, item, _ in batch])
                self._give(batch, answers)
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
            self.wait.took(time.perf_counter() - began)

    async def _gather(self) -> list[tuple[float, Any, asyncio.Future[Any]]]:
        """The next batch: what waits now, and what comes while the policy has patience."""
        batch: list[tuple[float, Any, asyncio.Future[Any]]] = []
        idle = len(self.waiting) == 1  # the model had nothing to do: would a little patience have paid?
        while True:
            while self.waiting and len(batch) < self.most:
                batch.append(self.waiting.popleft())
            patience = self.wait.patience(len(batch), time.perf_counter() - batch[0][0])
            if len(batch) == self.most or patience <= 0:
                if idle and len(batch) == 1:
                    self._look_back(batch[0][0])
                break
            came = await self._someone(patience)
            self.wait.learn(came)
            idle = False
            if not came:
                break
        self.sizes.append(len(batch))
        return batch

    async def _someone(self, patience: float | None = None) -> bool:
        """Wait until a request waits; False if none came within ``patience`` seconds."""
        self.arrived.clear()
        if self.waiting:
            return True
        try:
            await asyncio.wait_for(self.arrived.wait(), patience)
        except TimeoutError:
            return bool(self.waiting)
        return True

    def _look_back(self, start: float) -> None:
        """A batch of one starts at once; see later whether another request came within the gap after it."""
        gap = getattr(self.wait, "gap", None)
        if gap is None:
            return

        def look() -> None:
            self.wait.learn(any(arrived - start <= gap for arrived, _, _ in self.waiting))

        asyncio.get_running_loop().call_later(gap, look)

    def _give(self, batch: Sequence[tuple[float, Any, asyncio.Future[Any]]], answers: Sequence[Any]) -> None:
        for (_, _, answer), value in zip(batch, answers, strict=True):
            if not answer.done():  # its client may have gone
                answer.set_result(value)
