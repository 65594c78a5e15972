"""A model of asynchronous execution: a host that launches kernels, and a device that runs them in order.

CUDA C++ Programming Guide, sections "Asynchronous Concurrent Execution" and "Streams".
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """Work for the device: ``duration`` and the host's ``launch`` of it in microseconds, a stream, an engine.

    Kernels of one stream run one after another. An engine (``compute``, ``copy``) runs one kernel at a time;
    real compute engines run several small ones together, which this model leaves out.
    """

    duration: float
    launch: float
    stream: int = 0
    engine: str = "compute"


@dataclass(frozen=True)
class Span:
    """A bar of the timeline: ``lane`` is ``host`` or the name of an engine; times in microseconds."""

    lane: str
    start: float
    end: float
    stream: int


def schedule(kernels):
    """Spans of the host's launches and of the device's kernels, for kernels launched in the given order.

    The host launches one after another and waits for none. A kernel starts as soon as it is launched, its
    stream's previous kernel is done and its engine is free. Returns (launches, runs), two lists of
    :class:`Span` in launch order.
    """
    launches, runs, free, host = [], [], {}, 0.0
    for kernel in kernels:
        launches.append(Span("host", host, host + kernel.launch, kernel.stream))
        host += kernel.launch
        waits_for = ("stream", kernel.stream), ("engine", kernel.engine)
        start = max([host, *(free.get(thing, 0.0) for thing in waits_for)])
        end = start + kernel.duration
        free.update(dict.fromkeys(waits_for, end))
        runs.append(Span(kernel.engine, start, end, kernel.stream))
    return launches, runs


def elapsed(kernels):
    """Microseconds from the first launch to the end of the last kernel: what a synchronised clock shows."""
    return max(span.end for spans in schedule(kernels) for span in spans)


def chain(count, duration, launch):
    """``count`` equal kernels on one stream, launched one by one."""
    return [Kernel(duration, launch)] * count


def graph(count, duration, launch):
    """The same kernels recorded once as a CUDA graph: one launch starts them all."""
    return [Kernel(duration, launch), *chain(count - 1, duration, 0.0)]


def copy_and_compute(chunks, copy, compute, launch, streams):
    """Kernels that bring ``chunks`` pieces to the device (``copy`` us each) and work on each (``compute`` us).

    Piece ``i`` goes to stream ``i % streams``.
    """
    return [
        Kernel(duration, launch, i % streams, engine)
        for i in range(chunks)
        for duration, engine in ((copy, "copy"), (compute, "compute"))
    ]
