"""Calls the student's code inside the worker and hands back what it gave. Judges nothing.

This file is released. It runs beside code that nobody trusts, so the examiner takes from it raw outputs.
"""

import asyncio
import contextlib
import traceback


class Standstill(Exception):
    """Every task waits, and no timer is set: nothing can happen any more."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while code runs, and jumps to the next timer when all tasks wait.

    So a second of waiting takes no time, and every time is exact.
    """

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.tasks = []  # all that anybody made
        self.raised = []  # by what a timer or the loop itself called
        self.set_task_factory(self._make)
        self.set_exception_handler(self._hear)
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

    def _make(self, loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        self.tasks.append(task)
        return task

    def _hear(self, loop, context):
        if context.get("exception") is not None:
            self.raised.append(context["exception"])
        loop.default_exception_handler(context)


def told(error):
    """Return what was raised, and where in batcher.py."""
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if "batcher.py" in one.filename]
    return f"{type(error).__name__}: {error}" + (f" (batcher.py, line {lines[-1]})" if lines else "")


def simulate(arrivals, settings, cost, failing=(), cancelled=(), closing=None):
    """Let requests come to a Batcher, and return its batches, and what became of each request.

    arrivals   pairs of a time in seconds and an item, a number
    settings   max_batch, max_wait and max_queue
    cost       (seconds of a batch, seconds more for each item in it)
    failing    items for which the model raises ValueError
    cancelled  pairs: a place in `arrivals`, and the time when this request is cancelled
    closing    when `close` is called

    The model answers 2 * item + 1. Of what it got and is no number, the name of the type is returned. `failed` says
    what tasks and timers of the batcher raised, which nobody hears of otherwise.
    """
    from batcher import Batcher, Closed, Full

    loop = VirtualLoop()
    batches, outcomes = [], [{"kind": "nothing", "value": 0, "at": -1.0} for _ in arrivals]
    closed, own = [], []
    failure = ValueError("the model failed")

    async def model(items):
        got = [item if type(item) is int else type(item).__name__ for item in items]
        batches.append({"start": loop.time(), "items": got})
        await asyncio.sleep(cost[0] + cost[1] * len(got))
        if any(item in failing for item in got):
            raise failure
        return [2 * item + 1 if type(item) is int else 0 for item in got]

    async def one(place, when, item, batcher):
        await asyncio.sleep(when)
        said = ""
        try:
            kind, value = "answer", await batcher.predict(item)
        except (Full, Closed, ValueError) as error:
            kind, value = type(error).__name__, 0
            said = "" if error is failure else told(error)
        except asyncio.CancelledError:
            kind, value = "cancelled", 0
        outcomes[place] = {"kind": kind, "value": value, "at": loop.time(), "said": said}

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
        own.extend([asyncio.current_task(), *tasks])
        await asyncio.gather(*tasks)

    asyncio.set_event_loop(loop)
    with contextlib.suppress(Standstill):  # what waits for ever says so: "nothing"
        loop.run_until_complete(everything())
    ended = [task for task in loop.tasks if task not in own and task.done() and not task.cancelled()]
    errors = [task.exception() for task in ended if task.exception() is not None]
    failed = [told(error) for error in [*errors, *loop.raised]]
    for task in loop.tasks:
        task._log_destroy_pending = False  # those that wait for ever: said by "nothing"
    return {"batches": batches, "outcomes": outcomes, "closed": closed, "failed": failed}


def kind(value):
    """Return what a value is, where it is not what was asked for."""
    return {"gave": "None" if value is None else f"a value of type {type(value).__name__}"}


def queue(weights, steps):
    """Return what a FairQueue gives for each of `steps`: a pair (client, item) is pushed, None asks for an item.

    A pair that comes out is a list here. Of anything else, and of what is neither text nor number in a pair, the name
    of the type is returned, in {"gave": ...}.
    """
    from fair import FairQueue

    fair, found = FairQueue(weights), []
    for step in steps:
        if step is None:
            try:
                given = fair.pop()
            except IndexError:
                found.append("IndexError")
                continue
            if isinstance(given, (tuple, list)) and len(given) == 2:
                found.append([one if type(one) in (str, int) else kind(one) for one in given])
            else:
                found.append(kind(given))
        else:
            fair.push(*step)
            found.append(len(fair))
    return found
