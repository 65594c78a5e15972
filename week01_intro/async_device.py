"""An asynchronous device that runs anywhere: in-order streams, events and a bounded launch queue.

A GPU takes its kernels from a queue. The host puts a kernel in and goes on at once; the GPU runs it later.
Every trap of GPU timing comes from that one fact. Here the fact is real on a laptop too: a stream is a queue
and a worker thread, a kernel is any Python call that does PyTorch work, and PyTorch gives up the interpreter
lock while it computes. Where there is a CUDA device, the same class drives that device instead.

The names and the rules follow the CUDA programming guide, sections on streams and events.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

Kernel = Callable[..., Any]


class DeviceError(RuntimeError):
    """A kernel launched earlier has failed. As on a GPU, the error does not say which one."""


class ThreadEvent:
    """A mark in a stream's queue. It notes the time at which the worker reaches it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._time = float("nan")

    def _mark(self) -> None:
        self._time = time.perf_counter()
        self._reached.set()

    def synchronize(self) -> None:
        """Make the host wait until the worker has reached this mark."""
        self._reached.wait()

    def elapsed_time(self, end: "ThreadEvent") -> float:
        """Milliseconds between this mark and ``end``. RuntimeError if one was not reached yet."""
        if not (self._reached.is_set() and end._reached.is_set()):
            raise RuntimeError(
                "elapsed_time() needs both events reached: call synchronize() on the later one first"
            )
        return (end._time - self._time) * 1e3


class ThreadStream:
    """An in-order queue of at most ``depth`` kernels, and the worker thread that runs them one by one."""

    def __init__(self, depth: int, blocking: bool) -> None:
        self._queue: queue.Queue = queue.Queue(maxsize=depth)
        self._blocking = blocking
        self._error: Exception | None = None
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        # A new thread takes over torch.set_num_threads() only once it asks; until then its matrix products
        # use every core.
        torch.get_num_threads()
        while True:
            kernel, args = self._queue.get()
            try:
                # After a fault a GPU runs nothing more; marks are still passed, so that no one waits for ever.
                if self._error is None or kernel is _mark:
                    kernel(*args)
            except Exception as error:
                self._error = error
            finally:
                self._queue.task_done()
            if kernel is _stop:
                return

    def launch(self, kernel: Kernel, *args: Any) -> None:
        """Queue ``kernel(*args)`` and return. If the queue is full, wait for a free place first."""
        if self._blocking:
            self.synchronize()
            kernel(*args)
        else:
            self._queue.put((kernel, args))

    def record(self) -> ThreadEvent:
        """Queue a mark behind everything launched so far."""
        event = ThreadEvent()
        self._queue.put((_mark, (event,)))
        return event

    def wait(self, event: ThreadEvent) -> None:
        """Make this stream, not the host, wait for ``event`` before it runs anything queued later."""
        self._queue.put((event.synchronize, ()))

    def synchronize(self) -> None:
        """Make the host wait until the queue is empty. Raises DeviceError if a kernel has failed."""
        self._queue.join()
        if self._error is not None:
            # "from None" on purpose: a GPU does not hand over the traceback of the kernel that failed.
            raise DeviceError(
                f"{self._error} (raised by a kernel launched earlier, not by this line)"
            ) from None

    def close(self) -> None:
        """End the worker thread after the work already queued."""
        self._queue.put((_stop, ()))


def _mark(event: ThreadEvent) -> None:
    event._mark()


def _stop() -> None:
    """The last entry of a queue: the worker ends after it."""


class CudaStream:
    """The same interface over one CUDA stream."""

    def __init__(self, stream: "torch.cuda.Stream") -> None:
        self._stream = stream

    def launch(self, kernel: Kernel, *args: Any) -> None:
        """Call ``kernel(*args)`` with this stream current: its CUDA kernels are queued here."""
        with torch.cuda.stream(self._stream):
            kernel(*args)

    def record(self) -> "torch.cuda.Event":
        """Queue a timing event behind everything launched so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record(self._stream)
        return event

    def wait(self, event: "torch.cuda.Event") -> None:
        """Make this stream, not the host, wait for ``event``."""
        self._stream.wait_event(event)

    def synchronize(self) -> None:
        """Make the host wait until this stream has nothing left to do."""
        self._stream.synchronize()

    def close(self) -> None:
        """Wait for the stream; PyTorch keeps CUDA streams in a pool and frees them itself."""
        self.synchronize()


class AsyncDevice:
    """A device with one default stream and as many others as you ask for.

    ``depth`` is how many kernels a stream's queue holds on the thread device; the CUDA driver sets its own.
    As on a GPU, ``CUDA_LAUNCH_BLOCKING=1`` in the environment makes every launch wait for its kernel.
    """

    def __init__(self, depth: int = 16) -> None:
        if depth < 1:
            raise ValueError(f"a launch queue holds at least one kernel, not depth={depth}")
        self.depth = depth
        self._cuda = torch.cuda.is_available()
        self._streams: list[ThreadStream | CudaStream] = []
        self.default = self.stream()

    def stream(self) -> "ThreadStream | CudaStream":
        """A new stream. Kernels of different streams run in no fixed order."""
        if self._cuda:
            stream: ThreadStream | CudaStream = CudaStream(torch.cuda.Stream())
        else:
            stream = ThreadStream(self.depth, blocking=os.environ.get("CUDA_LAUNCH_BLOCKING") == "1")
        self._streams.append(stream)
        return stream

    def launch(self, kernel: Kernel, *args: Any) -> None:
        """Queue ``kernel(*args)`` on the default stream."""
        self.default.launch(kernel, *args)

    def synchronize(self) -> None:
        """Make the host wait for every stream. Raises DeviceError if a kernel has failed."""
        if self._cuda:
            torch.cuda.synchronize()
        for stream in self._streams:
            stream.synchronize()

    def close(self) -> None:
        """End the worker threads."""
        for stream in self._streams:
            stream.close()


def time_launches(device: AsyncDevice, kernel: Kernel, n: int) -> tuple[float, float]:
    """Launch ``kernel`` n times. Seconds until the last launch returned, and until the work was done."""
    device.synchronize()
    start = time.perf_counter()
    for _ in range(n):
        device.launch(kernel)
    issued = time.perf_counter() - start
    device.synchronize()
    return issued, time.perf_counter() - start


def launch_cost(device: AsyncDevice, kernel: Kernel, n: int) -> float:
    """Seconds that the host spends on one launch, from n empty kernels queued behind a real one."""
    empty = torch.zeros(1, device="cuda").zero_ if torch.cuda.is_available() else _nothing
    device.synchronize()
    device.launch(kernel)
    start = time.perf_counter()
    for _ in range(n):
        device.launch(empty)
    cost = (time.perf_counter() - start) / n
    device.synchronize()
    return cost


def _nothing() -> None:
    """A kernel that does no work."""


def timeline(device: AsyncDevice, kernel: Kernel, n: int) -> tuple[list[float], list[tuple[float, float]]]:
    """Launch ``kernel`` n times. When each launch returned, and when each kernel began and ended, in ms.

    Both clocks start at a mark recorded on the idle device.
    """
    device.synchronize()
    stream = device.default
    origin = stream.record()
    origin.synchronize()
    start, returned, marks = time.perf_counter(), [], [stream.record()]
    for _ in range(n):
        device.launch(kernel)
        returned.append((time.perf_counter() - start) * 1e3)
        marks.append(stream.record())
    device.synchronize()
    reached = [origin.elapsed_time(mark) for mark in marks]
    return returned, list(pairwise(reached))


def predict_issued(n: int, launch: float, kernel: float, depth: int) -> float:
    """Seconds after which the host has issued n kernels, if the queue holds ``depth`` and one runs.

    While there is room the host pays ``launch`` seconds for each. Once the queue is full it waits for a
    kernel of ``kernel`` seconds to end before each further launch, so ``depth + 1`` kernels stay unpaid.
    """
    return max(n * launch, (n - depth - 1) * kernel)
