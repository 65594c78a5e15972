"""Who gets how many GPUs: scheduling policies for `cluster.simulate`, each a function of a page.

A policy sees the active jobs by arrival, each with the GPUs that it holds now, and returns {job name: GPUs}.
"""

from collections.abc import Iterable, Mapping, Sequence

from week02_distributed.cluster import Active, Cluster, Job, Result, simulate


def fifo(now: float, active: list[Active], total: int) -> dict[int, int]:
    """First in, first out, whole gangs. Nobody is interrupted, and nobody overtakes the first who must wait."""
    counts = {a.job.name: a.job.gpus for a in active if a.gpus}
    for a in active:
        if a.job.name not in counts:
            if sum(counts.values()) + a.job.gpus > total:
                break
            counts[a.job.name] = a.job.gpus
    return counts


def piecemeal(now: float, active: list[Active], total: int) -> dict[int, int]:
    """No gang scheduling: a free GPU goes to the next worker that waits, of whichever job, and is then held.

    Waiting jobs are served in turn, one GPU at a time, as a scheduler does that knows workers but no jobs.
    """
    counts = {a.job.name: len(a.gpus) for a in active if a.gpus}
    while sum(counts.values()) < total:
        waiting = [a for a in active if counts.get(a.job.name, 0) < a.job.gpus]
        if not waiting:
            break
        for a in waiting[: total - sum(counts.values())]:
            counts[a.job.name] = counts.get(a.job.name, 0) + 1
    return counts


def piecemeal_with_eviction(now: float, active: list[Active], total: int) -> dict[int, int]:
    """`piecemeal` with an operator: when no gang is complete, all give back and the first job is served whole."""
    counts = piecemeal(now, active, total)
    if active and not any(counts.get(a.job.name) == a.job.gpus for a in active):
        return {active[0].job.name: active[0].job.gpus}
    return counts


def _whole_gangs(order: Iterable[Active], total: int) -> dict[int, int]:
    """Give each job all it asks for, in this order; one that does not fit lets smaller ones pass."""
    counts = {}
    for a in order:
        if sum(counts.values()) + a.job.gpus <= total:
            counts[a.job.name] = a.job.gpus
    return counts


def backfilling(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs by arrival, without interruption; who does not fit lets whoever fits pass."""
    return _whole_gangs(sorted(active, key=lambda a: not a.gpus), total)


def easy(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Backfilling that never delays the first job that waits, as Slurm's does; it needs to know how long jobs take.

    The first job that does not fit gets a reservation: the moment when enough running jobs have ended. Another
    one may pass if it ends before that, or uses GPUs that the first job will not need then (Lifka 1995).
    """
    counts = {a.job.name: a.job.gpus for a in active if a.gpus}
    waiting = [a for a in active if not a.gpus]
    while waiting and sum(counts.values()) + waiting[0].job.gpus <= total:
        first = waiting.pop(0)
        counts[first.job.name] = first.job.gpus
    if not waiting:
        return counts
    running = sorted((_end(now, a), a.job.gpus) for a in active if a.job.name in counts)
    free, start = total - sum(counts.values()), now
    for end, released in running:
        start, free = end, free + released
        if free >= waiting[0].job.gpus:
            break
    spare = free - waiting[0].job.gpus
    for a in waiting[1:]:
        in_time = _end(now, a) <= start
        if sum(counts.values()) + a.job.gpus <= total and (in_time or a.job.gpus <= spare):
            counts[a.job.name] = a.job.gpus
            spare -= 0 if in_time else a.job.gpus
    return counts


def _end(now: float, a: Active) -> float:
    """When a job ends that runs from now on with all it asks for, on one server."""
    return now + a.left / a.job.speed(a.job.gpus)


def shortest(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs, without interruption; among those that wait, the one with the least left comes first."""
    return _whole_gangs(sorted(active, key=lambda a: (not a.gpus, _end(now, a))), total)


def by_deadline(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs, without interruption; among those that wait, the one with the earliest deadline comes first."""
    return _whole_gangs(sorted(active, key=lambda a: (not a.gpus, a.job.deadline)), total)


def earliest_deadline(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs by deadline; a new job with an earlier one interrupts (Liu & Layland, JACM 1973)."""
    return _whole_gangs(sorted(active, key=lambda a: a.job.deadline), total)


def time_slices(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs in turn: who has trained least comes first. Needs a finite `slice_`.

    The time-slicing of Gandiva (Xiao et al., OSDI 2018), which suspends a job at the end of a mini-batch.
    """
    return _whole_gangs(sorted(active, key=lambda a: a.received), total)


QUEUE = 4 * 60  # GPU-seconds after which a job falls into the second queue of `two_queues`


def two_queues(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Whole gangs; who has used less than `QUEUE` GPU-seconds comes first, by arrival, and interrupts the others.

    The rule of Tiresias (Gu et al., NSDI 2019): it knows what a job has used and needs not know what it will use.
    Within a queue nobody is interrupted for having used a little more than another.
    """
    return _whole_gangs(
        sorted(active, key=lambda a: (a.received * a.job.gpus >= QUEUE, a.job.arrival)), total
    )


def moldable(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Elastic jobs that choose their size once: what is free when they start, at most what they ask for."""
    counts = {a.job.name: len(a.gpus) for a in active if a.gpus}
    for a in active:
        if not a.gpus and sum(counts.values()) < total:
            counts[a.job.name] = min(a.job.gpus, total - sum(counts.values()))
    return counts


def fair_share(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Elastic jobs, equal shares: one GPU each in turn until none is left; at most what helps the job."""
    counts = {a.job.name: 1 for a in active[:total]}
    order = [a for a in active if a.job.name in counts]
    while sum(counts.values()) < total:
        growing = [a for a in order if _gain(a, counts[a.job.name]) > 0]
        if not growing:
            break
        for a in growing[: total - sum(counts.values())]:
            counts[a.job.name] += 1
    return counts


def marginal_gain(now: float, active: list[Active], total: int) -> dict[int, int]:
    """Elastic jobs: each further GPU goes where it saves the most remaining time.

    The allocation rule of Optimus (Peng et al., EuroSys 2018), which also learns how much is left and how speed
    grows; here both are known. With more jobs than GPUs, those with the least left come first.
    """
    counts = {a.job.name: 1 for a in sorted(active, key=lambda a: a.left)[:total]}
    order = [a for a in active if a.job.name in counts]
    while order and sum(counts.values()) < total:
        best = max(order, key=lambda a: _gain(a, counts[a.job.name]))
        if _gain(best, counts[best.job.name]) <= 0:
            break
        counts[best.job.name] += 1
    return counts


def _gain(a: Active, gpus: int) -> float:
    """Seconds that one more GPU takes off the remaining time of an elastic job."""
    return a.left / a.job.speed(gpus) - a.left / a.job.speed(gpus + 1)


RIGID = {
    "one worker at a time": (piecemeal_with_eviction, {"switch": 2}),
    "first in, first out": (fifo, {}),
    "backfilling": (backfilling, {}),
    "backfilling, EASY": (easy, {}),
    "shortest first": (shortest, {}),
    "by deadline": (by_deadline, {}),
    "by deadline, interrupting": (earliest_deadline, {"switch": 2}),
    "time slices": (time_slices, {"slice_": 30, "switch": 2}),
    "time slices, migration": (time_slices, {"slice_": 30, "switch": 2, "migrate": True}),
    "two queues": (two_queues, {"slice_": 30, "switch": 2}),
}
"""The policies of the lecture for jobs of fixed size, each with the options of its simulation; times in seconds."""

ELASTIC = {
    "as asked, first in, first out": (fifo, {}),
    "as asked, backfilling": (backfilling, {}),
    "size chosen at the start": (moldable, {}),
    "equal shares": (fair_share, {"switch": 5}),
    "marginal gain": (marginal_gain, {"switch": 5}),
}
"""The same for jobs that can run with any number of GPUs."""


def simulate_each(
    chosen: Mapping[str, tuple], traces: Sequence[Sequence[Job]], machines: Cluster
) -> dict[str, list[Result]]:
    """Every policy of `RIGID` or `ELASTIC` on every trace: {name: [a Result for each trace]}."""
    return {
        name: [simulate(jobs, machines, policy, **options) for jobs in traces]
        for name, (policy, options) in chosen.items()
    }
