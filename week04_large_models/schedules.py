"""Pipeline schedules as data: which rank runs which forward or backward of which micro-batch, in which order.

A schedule is a list with one list of actions for each rank. It says nothing about time or messages. So one
description serves four purposes: `pipeline` executes it in real processes, `simulate` gives it times, `in_flight`
counts the micro-batches that wait for their backward pass, and `figures` shows it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One pass of one micro-batch through one stage: kind "F" is forward, kind "B" backward."""

    kind: str
    stage: int
    micro_batch: int


Schedule = list[list[Action]]
"""What each rank runs, in order of execution."""


def gpipe(stages: int, micro_batches: int) -> Schedule:
    """All forwards, then all backwards (Huang et al., GPipe, NeurIPS 2019). Stage s lives on rank s.

    Backwards run in the order of the forwards, so that gradients add up in the same order as under `one_f_one_b`.
    Raises ValueError for fewer than one stage or micro-batch.
    """
    return [forwards + backwards for forwards, backwards in _passes(stages, 1, micro_batches)]


def one_f_one_b(stages: int, micro_batches: int) -> Schedule:
    """As few forwards as will keep the next ranks busy, then one forward and one backward in turn.

    The order of PipeDream (Narayanan et al., SOSP 2019), with a flush at the end of a batch as in Megatron-LM.
    Stage s lives on rank s. Raises ValueError for fewer than one stage or micro-batch.
    """
    passes = _passes(stages, 1, micro_batches)
    return [_in_turn(*both, ahead=stages - 1 - rank) for rank, both in enumerate(passes)]


def interleaved(ranks: int, chunks: int, micro_batches: int) -> Schedule:
    """1F1B with `chunks` thinner stages on each rank: stage s lives on rank s mod `ranks`.

    Micro-batches go through a rank in groups of `ranks`: a group passes the first stage of every rank, then the
    second of every rank (Narayanan et al., Efficient large-scale language model training on GPU clusters using
    Megatron-LM, SC 2021). With one chunk it is `one_f_one_b`.

    Raises ValueError unless `micro_batches` is a multiple of `ranks`.
    """
    if ranks < 1 or micro_batches % ranks:
        raise ValueError(
            f"{micro_batches} micro-batches do not make whole groups of ranks={ranks}; give a multiple of it"
        )
    if chunks == 1:
        return one_f_one_b(ranks, micro_batches)
    passes = _passes(ranks, chunks, micro_batches)
    ahead = [2 * (ranks - 1 - rank) + (chunks - 1) * ranks for rank in range(ranks)]
    return [_in_turn(*both, ahead[rank]) for rank, both in enumerate(passes)]


def _passes(ranks: int, chunks: int, micro_batches: int) -> list[tuple[list[Action], list[Action]]]:
    """Forwards and backwards of each rank, in groups of `ranks` micro-batches (one group where chunks is 1)."""
    for name, number in {"stages": ranks * chunks, "micro_batches": micro_batches}.items():
        if number < 1:
            raise ValueError(f"{name}={number}; give 1 or more")
    size = micro_batches if chunks == 1 else ranks
    order = [
        (chunk, first + place)
        for first in range(0, micro_batches, size)
        for chunk in range(chunks)
        for place in range(size)
    ]
    return [
        (
            [Action("F", chunk * ranks + rank, number) for chunk, number in order],
            # The loss is behind the last stage, so backwards visit a rank's stages from the last to the first.
            [Action("B", (chunks - 1 - chunk) * ranks + rank, number) for chunk, number in order],
        )
        for rank in range(ranks)
    ]


def _in_turn(forwards: list[Action], backwards: list[Action], ahead: int) -> list[Action]:
    """`ahead` forwards first, then forward and backward in turn, then the backwards that are left."""
    ahead = min(ahead, len(forwards))
    pairs = zip(forwards[ahead:], backwards, strict=False)
    steady = [action for pair in pairs for action in pair]
    return forwards[:ahead] + steady + backwards[len(forwards) - ahead :]


@dataclass(frozen=True)
class Timeline:
    """When a schedule runs what: for each rank, tuples (action, start, end), in units of the caller."""

    ranks: list[list[tuple[Action, float, float]]]

    @property
    def end(self) -> float:
        """When the last action ends; the first begins at 0."""
        return max(end for rank in self.ranks for _, _, end in rank)

    @property
    def bubble(self) -> float:
        """Share of all ranks' time in which they run nothing."""
        busy = sum(end - start for rank in self.ranks for _, start, end in rank)
        return 1 - busy / (self.end * len(self.ranks))


def simulate(
    schedule: Schedule, forward: float = 1.0, backward: float = 2.0, transfer: float = 0.0
) -> Timeline:
    """Times of a schedule in which every action starts as soon as its rank is free and its input is there.

    `forward` and `backward` are the times of one action, `transfer` that of a message to another rank, which costs
    the sender nothing. Raises ValueError, naming what each rank waits for, where the order can never complete.
    """
    place = {action.stage: rank for rank, actions in enumerate(schedule) for action in actions}
    last, ended = max(place), {}
    timeline = [[] for _ in schedule]
    while any(len(done) < len(actions) for done, actions in zip(timeline, schedule, strict=True)):
        before = len(ended)
        for rank, actions in enumerate(schedule):
            done = timeline[rank]
            while len(done) < len(actions):
                action = actions[len(done)]
                inputs = _inputs(action, last)
                if any(needed not in ended for needed in inputs):
                    break
                late = [ended[n] + transfer * (place[n.stage] != rank) for n in inputs]
                start = max([done[-1][2] if done else 0.0, *late])
                ended[action] = start + (forward if action.kind == "F" else backward)
                done.append((action, start, ended[action]))
        if len(ended) == before:
            stuck = [a[len(d)] for d, a in zip(timeline, schedule, strict=True) if len(d) < len(a)]
            waits = "; ".join(f"{_name(a)} waits for {_missing(a, last, ended)}" for a in stuck)
            raise ValueError(f"the schedule never ends: {waits}")
    return Timeline(timeline)


def _inputs(action: Action, last: int) -> list[Action]:
    """What must have run before: the neighbour's same pass, and a backward's own forward."""
    stage, number = action.stage, action.micro_batch
    if action.kind == "F":
        return [Action("F", stage - 1, number)] if stage else []
    return [Action("F", stage, number)] + ([Action("B", stage + 1, number)] if stage < last else [])


def _missing(action: Action, last: int, ended: dict[Action, float]) -> str:
    return " and ".join(_name(needed) for needed in _inputs(action, last) if needed not in ended)


def _name(action: Action) -> str:
    return f"{action.kind}{action.micro_batch} of stage {action.stage}"


def in_flight(schedule: Schedule) -> list[list[int]]:
    """For each rank and after each of its actions: how many forwards still wait for their backward.

    Each of them keeps the activations of one stage. Under `interleaved` a stage holds a `chunks`-th of the layers.
    """
    result = []
    for actions in schedule:
        waiting, counts = 0, []
        for action in actions:
            waiting += 1 if action.kind == "F" else -1
            counts.append(waiting)
        result.append(counts)
    return result


def bubble(ranks: int, micro_batches: int, chunks: int = 1) -> float:
    """The formula: the share of time that p ranks spend idle, (p - 1) / (v m + p - 1), with v stages on a rank.

    It holds for equal stages, any times of forward and backward, and messages that take no time.
    """
    return (ranks - 1) / (chunks * micro_batches + ranks - 1)
