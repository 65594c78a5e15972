"""The event loop that runs while a cell runs, or a function of a cell's: in a kernel one does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import Any

PAUSE = (
    0.01  # seconds after a cell in which its tasks go on, about as long as a kernel waits for the next one
)


class Loop:
    """One event loop. It stands still between two calls of `run` and `call`."""

    def __init__(self) -> None:
        # Of the very class of all others: who patches the class of the loop that runs means those, too.
        self._loop: Any = asyncio.SelectorEventLoop()

    def close(self) -> None:
        """Give the loop back; tasks that wait in it wait for ever."""
        # What asyncio says of such tasks is for a program's author, and nobody reads it here.
        self._loop.set_exception_handler(lambda *_: None)
        self._loop.close()

    def run(self, cell: Coroutine[Any, Any, Any]) -> Any:
        """Run a cell in the loop until it ends, and let its tasks go on for a moment.

        An interrupt that strikes while nothing but the loop runs cancels what the cell waits for.
        """
        found: list[Any] = []

        async def and_its_tasks() -> None:
            found.append(await cell)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(PAUSE if len(asyncio.all_tasks()) > 1 else 0)

        task = self._loop.create_task(and_its_tasks())
        while True:
            try:
                self._loop.run_until_complete(task)
                return found[0]
            except KeyboardInterrupt:
                if task.done():
                    if found:
                        return found[0]
                    raise
                task.cancel()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns, called while the loop runs; raises what it raises."""
        if self._loop.is_running():  # a call that comes while another one waits
            return function(*args)
        if not self._has_work():
            # A turn of it would take a third of the time of a short call: it only seems to run. An interrupt may
            # strike as soon as a function has returned, and must not leave it like that.
            try:
                self._loop._thread_id = threading.get_ident()
                asyncio._set_running_loop(self._loop)
                return function(*args)
            finally:
                self._loop._thread_id = None
                asyncio._set_running_loop(None)
        found: list[tuple[Any, BaseException | None]] = []

        def within() -> None:
            try:
                found.append((function(*args), None))
            except BaseException as error:
                found.append((None, error))
            self._loop.stop()

        handle = self._loop.call_soon(within)
        try:
            self._loop.run_forever()
        finally:
            handle.cancel()
        value, error = found[0]
        if error is not None:
            raise error
        return value

    def _has_work(self) -> bool:
        """Return whether a turn would do anything."""
        # Of what a selector watches, one is the loop's own: the socket by which other threads wake it.
        return bool(self._loop._ready or self._loop._scheduled) or len(self._loop._selector.get_map()) > 1
