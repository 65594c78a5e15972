"""What runs in a rank of `effdl.launch`, from the fork of the server to the rank's last word.

The fork server loads this module, and with it torch, before it forks.
"""

import faulthandler
import importlib
import io
import json
import os
import signal
import sys
import time
import traceback
from operator import attrgetter

import numpy
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch.distributed.elastic.multiprocessing.redirects import redirect_stderr, redirect_stdout

from effdl.launch_job import (
    LAUNCHER,
    OUTPUT_LIMIT,
    RAISED,
    RETURNED,
    STARTED,
    STREAMS,
    Job,
    dump,
    load,
    record,
)
from effdl.launch_server import PR_SET_PDEATHSIG, prctl


class _LogStream(io.RawIOBase):
    """The raw end of a rank's sys.stdout or sys.stderr: one record in the run's log for each write.

    All ranks append to one file, and the kernel makes an append atomic, so the records stand in the order in
    which they were written, across ranks too.
    """

    def __init__(self, log: int, rank: int, stream: str):
        self._log, self._rank, self._stream, self._left = log, rank, stream, OUTPUT_LIMIT
        self.name = f"<{stream}>"  # what sys.stdout.name gives

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return STREAMS[self._stream]

    def write(self, data) -> int:
        data = bytes(data)
        if self._left > 0:
            kept = data[: self._left]
            self._left -= len(data)
            if self._left <= 0:
                kept += f"\n({self._stream} of this rank is cut here, at {OUTPUT_LIMIT:,} bytes)\n".encode()
            record(self._log, self._rank, STREAMS[self._stream], kept)
        return len(data)


def rank_main(rank: int, job: Job, environment: dict[str, str]) -> None:
    """What a rank runs. It reports to the log whatever happens, and never raises."""
    _detach()
    os.environ.clear()
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    log = os.open(job.folder / "log", os.O_WRONLY | os.O_APPEND)
    descriptors = [str(job.folder / f"fd{number}-{rank}") for number in (1, 2)]
    with (
        redirect_stdout(descriptors[0]),
        redirect_stderr(descriptors[1]),
        open(descriptors[1], "a") as errors,
    ):
        faulthandler.enable(errors)
        with open(job.folder / f"stack-{rank}", "w") as stack:
            faulthandler.register(signal.SIGUSR1, stack)
            for stream in STREAMS:
                raw = _LogStream(log, rank, stream)
                setattr(sys, stream, io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))
            try:
                record(log, rank, STARTED)
                _call(rank, job, log)
            except BaseException as error:
                _flush()
                record(log, rank, RAISED, json.dumps(_report(error)).encode())
                # Exit handlers and children must not delay a rank that has failed.
                os._exit(1)


def _report(error: BaseException) -> dict:
    """When and why a rank failed, and where: its traceback less the frames of the launcher."""
    when = time.time_ns()
    report = link = traceback.TracebackException.from_exception(error)
    while link:
        link.stack = traceback.StackSummary.from_list(
            [f for f in link.stack if not f.filename.startswith(LAUNCHER)]
        )
        link = link.__cause__ or link.__context__
    why = "".join(report.format_exception_only()).strip()
    return {"time": when, "why": why, "traceback": "".join(report.format()) if report.stack else ""}


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _detach() -> None:
    """Undo what a fork of the server inherits, and tie this rank's life to the server's."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Its own session: a Ctrl-C in the terminal goes to the program that called run(), which ends the ranks.
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # Every fork has the server's numpy state, and so every rank would draw the same "random" numbers.
    numpy.random.seed()


def _call(rank: int, job: Job, log: int) -> None:
    """Join the group, call the function, and hand over its value once every rank has one."""
    torch.set_num_threads(job.threads)
    args, kwargs = load(job.folder / "arguments")
    module, name = job.target.split(":")
    function = attrgetter(name)(importlib.import_module(module))
    store = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    if job.backend == "nccl":
        torch.cuda.set_device(rank)
    if job.backend:
        dist.init_process_group(job.backend, store=store, rank=rank, world_size=job.ranks)
    value = function(*args, **kwargs)
    _flush()
    dump(value, job.folder / f"result-{rank}", f"what rank {rank} returned")
    record(log, rank, RETURNED)
    # A rank that left now would close connections from which a slower one may still read.
    store.set(f"effdl/returned/{rank}", "")
    for other in range(job.ranks):
        while not store.check([f"effdl/returned/{other}"]):
            time.sleep(0.002)
    if dist.is_initialized():
        dist.destroy_process_group()
