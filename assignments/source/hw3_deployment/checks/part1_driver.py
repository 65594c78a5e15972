"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""

import asyncio
import contextlib


class Standstill(Exception):
    """Every task waits, and no timer is set: nothing can happen any more."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while code runs, and jumps to the next timer when all tasks wait.

    So a second of waiting takes no time, and every time is exact.
    """

    def __init__(self):
        super().__init__()
        self.now = 0.0
        ready = self._selector.select

        def select(timeout=None):
            found = ready(0)
            if not found and timeout is None:
                raise Standstill
            self.now += 0 if found else max(timeout, 0)
            return found

        self._selector.select = select

    def time(self):
        return getattr(self, "now", 0.0)


def simulate(arrivals, settings, cost, failing=(), cancelled=(), closing=None):
    """Let requests come to a Batcher, and return its batches, and what became of each request.

    arrivals   pairs of a time in seconds and an item, a number
    settings   max_batch, max_wait and max_queue
    cost       (seconds of a batch, seconds more for each item in it)
    failing    items for which the model raises ValueError
    cancelled  pairs: a place in `arrivals`, and the time when this request is cancelled
    closing    when `close` is called

    The model answers 2 * item + 1.
    """
    from batcher import Batcher, Closed, Full

    loop = VirtualLoop()
    batches, outcomes = [], [{"kind": "nothing", "value": 0, "at": -1.0} for _ in arrivals]
    closed = []

    async def model(items):
        batches.append({"start": loop.time(), "items": list(items)})
        await asyncio.sleep(cost[0] + cost[1] * len(items))
        if not set(failing).isdisjoint(items):
            raise ValueError("the model failed")
        return [2 * item + 1 for item in items]

    async def one(place, when, item, batcher):
        await asyncio.sleep(when)
        try:
            kind, value = "answer", await batcher.predict(item)
        except (Full, Closed, ValueError) as error:
            kind, value = type(error).__name__, 0
        except asyncio.CancelledError:
            kind, value = "cancelled", 0
        outcomes[place] = {"kind": kind, "value": value, "at": loop.time()}

    async def end(when, batcher):
        await asyncio.sleep(when)
        await batcher.close()
        closed.append(loop.time())

    async def everything():
        batcher = Batcher(model, **settings)
        tasks = [asyncio.create_task(one(place, *arrival, batcher)) for place, arrival in enumerate(arrivals)]
        for place, when in cancelled:
            loop.call_at(when, tasks[place].cancel)
        if closing is not None:
            tasks.append(asyncio.create_task(end(closing, batcher)))
        await asyncio.gather(*tasks)

    asyncio.set_event_loop(loop)
    with contextlib.suppress(Standstill):  # what waits for ever says so: "nothing"
        loop.run_until_complete(everything())
    return {"batches": batches, "outcomes": outcomes, "closed": closed}


def queue(weights, steps):
    """Return what a FairQueue gives for each of `steps`: a pair (client, item) is pushed, None asks for an item."""
    from fair import FairQueue

    fair, found = FairQueue(weights), []
    for step in steps:
        if step is None:
            try:
                found.append(list(fair.pop()))
            except IndexError:
                found.append("IndexError")
        else:
            fair.push(*step)
            found.append(len(fair))
    return found
