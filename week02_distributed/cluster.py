"""A cluster of GPUs that many training jobs share: a discrete-event simulator.

A *policy* says how many GPUs each job gets (see `policies`), the cluster decides which ones. Between two events (an
arrival, a completion, the end of a time slice) nothing changes, so the simulator jumps from one to the next.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

EPSILON = 1e-9  # seconds: two events closer than this are one


class Deadlock(RuntimeError):
    """Jobs are waiting, and nothing that is running will ever free a GPU for them."""


@dataclass(frozen=True)
class Job:
    """A training job.

    Attributes:
        name: a number, in the order of arrival.
        arrival, deadline: seconds.
        gpus: how many it asks for.
        work: seconds of training on one GPU.
        cost: what each further GPU adds to a step, as a share of it (communication).
        elastic: it also runs with fewer or more GPUs than it asks for.
    """

    name: int
    arrival: float
    gpus: int
    work: float
    cost: float = 0.0
    deadline: float = math.inf
    elastic: bool = False

    def speed(self, gpus: int, servers: int = 1) -> float:
        """Progress per second, with one GPU as the unit; a gang that spans servers communicates 3 times as dearly.

        A job that is not elastic makes no progress until it has all GPUs that it asks for.
        """
        if gpus == 0 or (not self.elastic and gpus < self.gpus):
            return 0.0
        dear = self.cost * (3 if servers > 1 else 1)
        return gpus / (1 + dear * (gpus - 1))

    @property
    def duration(self) -> float:
        """Seconds that it takes alone, with what it asks for, on one server."""
        return self.work / self.speed(self.gpus)


@dataclass
class Active:
    """A job that has arrived and has not ended: what a policy sees."""

    job: Job
    left: float  # seconds of training on one GPU
    gpus: tuple[int, ...] = ()
    received: float = 0.0  # seconds in which it trained
    ready: float = 0.0  # until then it is being moved or resumed


@dataclass(frozen=True)
class Interval:
    """A job held these GPUs from start to end; `speed` is 0 while it loads, moves or waits for the rest."""

    job: int
    gpus: tuple[int, ...]
    start: float
    end: float
    speed: float


@dataclass
class Result:
    """What happened: who held what when, and when each job ended."""

    jobs: list[Job]
    gpus: int
    intervals: list[Interval] = field(default_factory=list)
    ends: dict[int, float] = field(default_factory=dict)

    @property
    def completion(self) -> np.ndarray:
        """Seconds from arrival to end, by job."""
        return np.array([self.ends[job.name] - job.arrival for job in self.jobs])

    @property
    def makespan(self) -> float:
        """When the last job ended."""
        return max(self.ends.values())

    @property
    def missed(self) -> float:
        """Share of the jobs that ended after their deadline."""
        return float(np.mean([self.ends[job.name] > job.deadline + EPSILON for job in self.jobs]))

    def first_result(self, seconds: float) -> np.ndarray:
        """Seconds from the arrival of each job until it has trained for `seconds` (or has ended, if sooner)."""
        waits = []
        for job in self.jobs:
            trained, at = 0.0, self.ends[job.name]
            for piece in self.intervals:
                if piece.job == job.name and piece.speed > 0:
                    if trained + piece.end - piece.start >= seconds:
                        at = piece.start + seconds - trained
                        break
                    trained += piece.end - piece.start
            waits.append(at - job.arrival)
        return np.array(waits)

    def utilisation(self, until: float | None = None) -> float:
        """Share of the GPU-seconds up to `until` (or to the makespan) in which a GPU trained."""
        until = until or self.makespan
        used = sum(
            len(p.gpus) * (min(p.end, until) - p.start)
            for p in self.intervals
            if p.speed > 0 and p.start < until
        )
        return used / (self.gpus * until)


@dataclass(frozen=True)
class Summary:
    """Means over all jobs of several simulations.

    Attributes:
        completion: seconds from arrival to end.
        first_minute: seconds from arrival until a job has trained for a minute, or has ended.
        missed: share of the jobs that ended after their deadline.
        busy: share of the GPUs that trained, until the last job arrived.
        latest: seconds from arrival to end within which 99 % of a trace's jobs are done.
    """

    completion: float
    first_minute: float
    missed: float
    busy: float
    latest: float


def summarise(results: Sequence[Result]) -> Summary:
    """The mean over simulations of the means over their jobs."""
    return Summary(
        completion=float(np.mean([r.completion.mean() for r in results])),
        first_minute=float(np.mean([r.first_result(60).mean() for r in results])),
        missed=float(np.mean([r.missed for r in results])),
        busy=float(np.mean([r.utilisation(r.jobs[-1].arrival) for r in results])),
        latest=float(np.mean([np.quantile(r.completion, 0.99) for r in results])),
    )


def ratios(results: Sequence[Result], base: Sequence[Result]) -> np.ndarray:
    """Mean completion time over that of `base`, trace by trace: below 1 is sooner; shape (traces,)."""
    pairs = zip(results, base, strict=True)
    return np.array([r.completion.mean() / b.completion.mean() for r, b in pairs])


Policy = Callable[[float, list[Active], int], dict[int, int]]
"""(now, active jobs by arrival, number of GPUs) -> {job name: GPUs}; a job that is not named gets none."""


@dataclass(frozen=True)
class Cluster:
    """Servers with the same number of GPUs. GPU g stands in server g // per_server."""

    servers: int
    per_server: int

    @property
    def gpus(self) -> int:
        """All of them."""
        return self.servers * self.per_server

    def spans(self, gpus: Iterable[int]) -> int:
        """The number of servers that these GPUs stand in."""
        return len({gpu // self.per_server for gpu in gpus})

    def place(
        self, active: list[Active], counts: dict[int, int], migrate: bool
    ) -> dict[int, tuple[int, ...]]:
        """Choose GPUs for the counts. A job whose count stays keeps its GPUs, unless moving it brings it together.

        New jobs go to the fullest server that has room for all of the job, else wherever there is room.
        """
        stay = {a.job.name: a.gpus for a in active if a.gpus and counts.get(a.job.name) == len(a.gpus)}
        if migrate and any(self.spans(gpus) > -(-len(gpus) // self.per_server) for gpus in stay.values()):
            stay = {}
        placed, free = dict(stay), set(range(self.gpus)).difference(*stay.values())
        missing = [a for a in active if counts.get(a.job.name, 0) and a.job.name not in placed]
        for a in sorted(missing, key=lambda a: -counts[a.job.name]):
            placed[a.job.name] = self._choose(free, counts[a.job.name], a.gpus)
            free.difference_update(placed[a.job.name])
        return placed

    def _choose(self, free: set[int], count: int, held: tuple[int, ...]) -> tuple[int, ...]:
        room = [[g for g in free if g // self.per_server == server] for server in range(self.servers)]
        fitting = [gpus for gpus in room if len(gpus) >= count]
        # Among equally full servers, the one where the job already is: then there is nothing to move.
        key = (
            (lambda gpus: (len(gpus), -len(set(held) & set(gpus)))) if fitting else (lambda gpus: -len(gpus))
        )
        ordered = [
            gpu
            for gpus in sorted(fitting or room, key=key)
            for gpu in sorted(gpus, key=lambda g: g not in held)
        ]
        return tuple(sorted(ordered[:count]))


def simulate(
    jobs: Iterable[Job],
    cluster: Cluster,
    policy: Policy,
    slice_: float = math.inf,
    switch: float = 0.0,
    migrate: bool = False,
) -> Result:
    """Run the jobs to their ends.

    Args:
        slice_: seconds after which the policy is asked again even if nothing happened.
        switch: seconds that a job loses when it is resumed, moved or resized.
        migrate: move jobs when that brings a gang together in one server.

    Raises:
        Deadlock: nothing makes progress, and nothing more will arrive.
        ValueError: the policy gave out more GPUs than there are, or a job can never run here.
    """
    jobs = sorted(jobs, key=lambda job: (job.arrival, job.name))
    if any(job.gpus > cluster.gpus for job in jobs):
        raise ValueError(
            f"a job asks for more than the {cluster.gpus} GPUs of this cluster: drop it or add servers"
        )
    result, coming, active, now = Result(jobs, cluster.gpus), list(jobs), [], 0.0
    while coming or active:
        while coming and coming[0].arrival <= now + EPSILON:
            active.append(Active(coming[0], coming.pop(0).work))
        _apply(cluster, policy, active, now, switch, migrate)
        then = min(_events(cluster, coming, active, now, slice_), default=math.inf)
        if not math.isfinite(then):
            held = {a.job.name: len(a.gpus) for a in active}
            raise Deadlock(f"at {now:g} s nothing runs and nothing will come; GPUs held by job: {held}")
        for a in active:
            _advance(cluster, a, now, then, result)
        for a in [a for a in active if a.left <= EPSILON * a.job.work]:
            active.remove(a)
            result.ends[a.job.name] = then
        now = then
    return result


def _apply(
    cluster: Cluster, policy: Policy, active: list[Active], now: float, switch: float, migrate: bool
) -> None:
    """Ask the policy, and give every active job its GPUs."""
    counts = policy(now, active, cluster.gpus)
    if sum(counts.values()) > cluster.gpus:
        raise ValueError(f"the policy gave out {sum(counts.values())} GPUs of {cluster.gpus}: {counts}")
    placed = cluster.place(active, counts, migrate)
    for a in active:
        gpus = placed.get(a.job.name, ())
        if gpus != a.gpus:
            if gpus and a.received:
                a.ready = now + switch
            a.gpus = gpus


def _events(cluster, coming: list[Job], active: list[Active], now: float, slice_: float) -> Iterator[float]:
    """When something may happen next."""
    if coming:
        yield coming[0].arrival
    running = False
    for a in active:
        speed = a.job.speed(len(a.gpus), cluster.spans(a.gpus))
        if speed > 0:
            running = True
            # A job that is being moved starts at `ready`: an event, so that an interval is all useful or all lost.
            yield a.ready if a.ready > now + EPSILON else now + a.left / speed
    if running and math.isfinite(slice_):
        yield (math.floor(now / slice_ + EPSILON) + 1) * slice_


def _advance(cluster: Cluster, a: Active, now: float, then: float, result: Result) -> None:
    """Let a job do what it does between two events."""
    if not a.gpus:
        return
    moving = a.ready > now + EPSILON
    speed = 0.0 if moving else a.job.speed(len(a.gpus), cluster.spans(a.gpus))
    if speed > 0:
        a.left -= speed * (then - now)
        a.received += then - now
    result.intervals.append(Interval(a.job.name, a.gpus, now, then, speed))


def random_jobs(count: int, load: float, seed: int, gpus: int = 16, elastic: bool = False) -> list[Job]:
    """A made-up trace with the traits of published ones: most jobs are short and small, a few are long and large.

    Args:
        load: GPU-seconds that the jobs ask for, over those that `gpus` GPUs have until the last arrival. The gaps
            between arrivals are exponential, and scaled so that the trace has exactly this load.

    Raises ValueError for a load that is not positive.
    """
    if not load > 0:
        raise ValueError(f"load={load}: give the share of the GPU-seconds that the jobs ask for, above 0")
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1, count))
    sizes = rng.choice([1, 2, 4, 8], count, p=[0.5, 0.2, 0.2, 0.1])
    durations = rng.lognormal(math.log(120), 1.2, count)
    arrivals *= float(durations @ sizes) / (load * gpus * arrivals[-1])
    costs, slack = rng.uniform(0.02, 0.15, count), rng.uniform(1.5, 6, count)
    jobs = []
    for name in range(count):
        wanted, duration, arrival = int(sizes[name]), float(durations[name]), float(arrivals[name])
        work = duration * wanted / (1 + costs[name] * (wanted - 1))
        deadline = arrival + duration * float(slack[name])
        jobs.append(Job(name, arrival, wanted, work, float(costs[name]), deadline, elastic))
    return jobs


SIX_JOBS = [
    Job(name, arrival, gpus, work=seconds * gpus, deadline=deadline)
    for name, (arrival, gpus, seconds, deadline) in enumerate(
        [(0, 2, 60, 300), (0, 1, 130, 400), (5, 4, 30, 90), (8, 1, 20, 60), (10, 2, 40, 200), (12, 1, 25, 70)]
    )
]
"""A trace that is small enough to draw: job 2 wants all GPUs of a server of four."""
