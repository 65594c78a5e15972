"""A cluster in small that is real: jobs are gangs of processes, suspended and resumed by the simulator's policies.

A worker's GPU is a stand-in that only takes time, so that four of them fit on two cores. Processes, the barrier after
every mini-batch, suspension at its end, and the clock are real.
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from week02_distributed.cluster import Active, Cluster, Interval, Job, Policy, Result
from week02_distributed.hogwild import SharedArray
from week02_distributed.processes import CONTEXT, Group

BATCH = 0.025  # seconds of a mini-batch
TICK = 0.002  # seconds between two looks of the scheduler


def scaled(jobs: Sequence[Job], factor: float) -> list[Job]:
    """The same jobs on a faster clock: all times times `factor`."""
    return [
        replace(job, arrival=job.arrival * factor, work=job.work * factor, deadline=job.deadline * factor)
        for job in jobs
    ]


def run(jobs: Sequence[Job], machines: Cluster, policy: Policy, slice_: float = math.inf) -> Result:
    """Run jobs of fixed size, in real seconds, under a policy of `policies`: what `cluster.simulate` computes.

    All processes are started before the clock. A job without GPUs stands still at the end of a mini-batch, as in
    Gandiva (Xiao et al., OSDI 2018). A job counts as ended when its last mini-batch is done.
    """
    jobs = sorted(jobs, key=lambda job: (job.arrival, job.name))
    batches = {job.name: max(1, round(job.duration / BATCH)) for job in jobs}
    done = SharedArray.copy_of(np.zeros(len(jobs), np.int64))
    may_run = {job.name: CONTEXT.Event() for job in jobs}
    # Kept until the end: a semaphore that this process drops is gone before a slow worker has opened it.
    gangs = {job.name: CONTEXT.Barrier(job.gpus) for job in jobs}
    up = CONTEXT.Semaphore(0)
    with Group() as group:
        for index, job in enumerate(jobs):
            gang = gangs[job.name]
            for rank in range(job.gpus):
                todo = batches[job.name]
                group.start(_train, done, index if rank == 0 else None, todo, gang, may_run[job.name], up)
        for _ in range(sum(job.gpus for job in jobs)):
            while not up.acquire(timeout=0.05):
                group.poll()
        result = _schedule(jobs, machines, policy, slice_, done.array, batches, may_run)
        group.results()
    return result


def _schedule(jobs, machines, policy, slice_, done, batches, may_run) -> Result:
    """The loop of the scheduler: look, and where something happened, ask the policy and set or clear the events."""
    result, coming, active = Result(list(jobs), machines.gpus), list(jobs), []
    index = {job.name: place for place, job in enumerate(jobs)}
    start, last, turn = time.perf_counter(), 0.0, 0
    while coming or active:
        now = time.perf_counter() - start
        for a in active:
            if a.gpus:
                result.intervals.append(Interval(a.job.name, a.gpus, last, now, 1.0))
                a.received += now - last
            a.left = a.job.work * (1 - done[index[a.job.name]] / batches[a.job.name])
        ended = [a for a in active if done[index[a.job.name]] == batches[a.job.name]]
        for a in ended:
            active.remove(a)
            result.ends[a.job.name] = now
        arrived = [job for job in coming if job.arrival <= now]
        coming = [job for job in coming if job.arrival > now]
        active += [Active(job, job.work) for job in arrived]
        if ended or arrived or now // slice_ > turn:
            turn = now // slice_
            placed = machines.place(active, policy(now, active, machines.gpus), False)
            for a in active:
                a.gpus = placed.get(a.job.name, ())
                (may_run[a.job.name].set if a.gpus else may_run[a.job.name].clear)()
        last = now
        time.sleep(TICK)
    return result


def _train(done: SharedArray, mine: int | None, todo: int, gang, may_run, up) -> None:
    up.release()
    for _ in range(todo):
        may_run.wait()
        time.sleep(BATCH)  # the GPU
        gang.wait()  # the gradients of the gang are summed here
        if mine is not None:
            done.array[mine] += 1


# ---------------------------------------------------------------------------------------------------------------
# Two gangs at one machine
# ---------------------------------------------------------------------------------------------------------------

GANG = 4


def two_gangs(tries: int, whole: bool, patience: float) -> int:
    """In how many tries neither of two gangs of four got all of four slots within `patience` seconds.

    Args:
        whole: a gang takes all its slots at once; else each worker takes one for itself.
    """
    slots, door, everyone = CONTEXT.Semaphore(GANG), CONTEXT.Lock(), CONTEXT.Barrier(2 * GANG)
    holds = SharedArray.copy_of(np.zeros((2, GANG), np.int8))
    with Group() as group:
        for rank in range(GANG):
            for gang in range(2):
                group.start(_gather, gang, rank, tries, whole, patience, slots, door, everyone, holds)
        trained = np.array(group.results(60 + 4 * tries * patience))
    return int(np.sum(~trained.any(axis=0)))


def _gather(gang, rank, tries, whole, patience, slots, door, everyone, holds) -> list[bool]:
    trained, mine = [], holds.array[gang]
    for _ in range(tries):
        mine[rank] = 0
        everyone.wait()
        end = time.monotonic() + patience
        if not whole:
            mine[rank] = slots.acquire(timeout=patience)
        elif rank == 0:
            with door:  # one gang at a time, and all of its slots
                for _ in range(GANG):
                    slots.acquire()
            mine[:] = 1
        while not mine.all() and time.monotonic() < end:
            time.sleep(0.002)
        trained.append(bool(mine.all()))
        time.sleep(0.02)  # it trains, or gives up
        for _ in range(GANG * (rank == 0) if whole else mine[rank]):
            slots.release()
        everyone.wait()
    return trained


# ---------------------------------------------------------------------------------------------------------------
# What a pause, a restart and a shared device cost
# ---------------------------------------------------------------------------------------------------------------

_RESTART = """
import sys, numpy, torch
model = torch.from_numpy(numpy.load(sys.argv[1]))
print(float(model[:1000] @ model[:1000]))
"""


def pause_and_restart(megabytes: int = 40, rounds: int = 3) -> tuple[float, float]:
    """Seconds until a job goes on: from a pause in memory, and from a checkpoint in a process that starts with torch.

    Medians. Both are counted from the order to go on to the end of the next mini-batch, a product of vectors.
    """
    model = np.ones(megabytes * 250_000, np.float32)
    go, batch = CONTEXT.Semaphore(0), CONTEXT.Semaphore(0)
    paused, restarted = [], []
    with Group() as group, tempfile.TemporaryDirectory() as folder:
        group.start(_paused, model[:1000], 10 * rounds, go, batch)
        for _ in range(10 * rounds):
            time.sleep(0.01)
            start = time.perf_counter()
            go.release()
            batch.acquire()
            paused.append(time.perf_counter() - start)
        group.results()
        checkpoint = Path(folder) / "model.npy"
        for _ in range(rounds):
            start = time.perf_counter()
            np.save(checkpoint, model)
            command = [sys.executable, "-c", _RESTART, str(checkpoint)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            restarted.append(time.perf_counter() - start)
    return float(np.median(paused)), float(np.median(restarted))


def _paused(model: np.ndarray, batches: int, go, batch) -> None:
    for _ in range(batches):
        go.acquire()
        model @ model
        batch.release()


def packing(waits: float, computes: float, batches: int = 25, rounds: int = 3) -> float:
    """Time of two jobs one after the other over that of both at once on one core; median of rounds.

    Args:
        waits, computes: seconds of a mini-batch in which a job waits for its input, and in which it needs the core.
    """
    gains = []
    for _ in range(rounds):
        alone = sum(_together(1, waits, computes, batches) for _ in range(2))
        gains.append(alone / _together(2, waits, computes, batches))
    return float(np.median(gains))


def _together(jobs: int, waits: float, computes: float, batches: int) -> float:
    ready = CONTEXT.Barrier(jobs)
    with Group() as group:
        for _ in range(jobs):
            group.start(_load_and_compute, waits, computes, batches, ready)
        spans = group.results()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _load_and_compute(waits: float, computes: float, batches: int, ready) -> tuple[float, float]:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ready.wait()
    start = time.perf_counter()
    for _ in range(batches):
        time.sleep(waits)
        until = time.process_time() + computes
        while time.process_time() < until:  # so much of the core, however long that takes
            pass
    return start, time.perf_counter()
