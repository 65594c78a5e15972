"""All-reduce algorithms as data: who sends which chunks to whom, round by round.

A schedule says nothing about how a message travels. So one description serves five purposes: `point_to_point`
executes it on real ranks, `simulate` runs it without any, `cost` predicts its time, `bytes_sent` counts its volume,
and `figures` shows it step by step.

All messages of a round carry the values from *before* the round.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Message:
    """Chunks `start` to `stop` (exclusive) go from rank `source` to `target`, which adds or replaces its own."""

    source: int
    target: int
    start: int
    stop: int
    add: bool


@dataclass(frozen=True)
class Schedule:
    """An all-reduce of `ranks` ranks over a tensor cut into `chunks` nearly equal chunks."""

    name: str
    ranks: int
    chunks: int
    rounds: list[list[Message]]


def naive(ranks: int) -> Schedule:
    """Each rank sends its whole tensor to each other rank: one round, n - 1 tensors from each."""
    messages = [Message(a, b, 0, 1, True) for a in range(ranks) for b in range(ranks) if a != b]
    return _schedule("naive", ranks, 1, [messages])


def driver(ranks: int) -> Schedule:
    """Rank 0 collects all tensors and sends back the sum, as a parameter server does."""
    others = range(1, ranks)
    collect = [Message(rank, 0, 0, 1, True) for rank in others]
    return _schedule("driver", ranks, 1, [collect, [Message(0, rank, 0, 1, False) for rank in others]])


def tree(ranks: int) -> Schedule:
    """A binomial tree: partial sums go up in ceil(log2 n) rounds, the result comes down in as many."""
    up, distance = [], 1
    while distance < ranks:
        senders = range(distance, ranks, 2 * distance)
        up.append([Message(rank, rank - distance, 0, 1, True) for rank in senders])
        distance *= 2
    down = [[Message(m.target, m.source, 0, 1, False) for m in messages] for messages in reversed(up)]
    return _schedule("tree", ranks, 1, up + down)


def ring(ranks: int) -> Schedule:
    """Each rank talks to two neighbours: n - 1 rounds add up the chunks, n - 1 rounds pass the sums around.

    Patarasuk & Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations, JPDC 2009.
    """
    rounds = []
    for step in range(2 * (ranks - 1)):
        chunks = [(rank - step) % ranks for rank in range(ranks)]
        adding = step < ranks - 1
        rounds.append(
            [Message(r, (r + 1) % ranks, chunk, chunk + 1, adding) for r, chunk in enumerate(chunks)]
        )
    return _schedule("ring", ranks, ranks, rounds)


def butterfly(ranks: int) -> Schedule:
    """Recursive halving, then recursive doubling (Rabenseifner 2004; Thakur, Rabenseifner & Gropp 2005).

    Partners at distance n/2, n/4, ..., 1 split the range that they share. Ranks beyond the largest power of two
    hand their tensor to a partner first and get the result last.
    """
    power = 1 << (ranks.bit_length() - 1)
    extra = range(power, ranks)
    rounds, held = [], {rank: (0, power) for rank in range(power)}
    distance = power // 2
    while distance:
        messages = []
        for rank, (start, stop) in held.items():
            middle = (start + stop) // 2
            lower = not rank & distance
            give = (middle, stop) if lower else (start, middle)
            held[rank] = (start, middle) if lower else (middle, stop)
            messages.append(Message(rank, rank ^ distance, *give, True))
        rounds.append(messages)
        distance //= 2
    doubling = [[Message(m.target, m.source, m.start, m.stop, False) for m in r] for r in reversed(rounds)]
    fold = [[Message(rank, rank - power, 0, power, True) for rank in extra]]
    unfold = [[Message(rank - power, rank, 0, power, False) for rank in extra]]
    return _schedule("butterfly", ranks, power, fold + rounds + doubling + unfold)


def hierarchical(ranks: int, per_host: int) -> Schedule:
    """Two levels: collect on one rank of each host, a ring between these leaders, then hand out inside the host.

    Ranks 0 to `per_host` - 1 share the first host, and so on. Raises ValueError if the last host is not full.
    """
    if ranks % per_host:
        raise ValueError(f"{ranks} ranks do not fill hosts of {per_host}; choose a divisor of {ranks}")
    leaders = range(0, ranks, per_host)
    between = ring(len(leaders))
    chunks = between.chunks
    others = [(leader, leader + k) for leader in leaders for k in range(1, per_host)]
    collect = [Message(rank, leader, 0, chunks, True) for leader, rank in others]
    middle = [
        [Message(m.source * per_host, m.target * per_host, m.start, m.stop, m.add) for m in messages]
        for messages in between.rounds
    ]
    hand_out = [Message(leader, rank, 0, chunks, False) for leader, rank in others]
    return _schedule("hierarchical", ranks, chunks, [collect, *middle, hand_out])


FLAT: dict[str, Callable[[int], Schedule]] = {
    "naive": naive,
    "driver": driver,
    "tree": tree,
    "ring": ring,
    "butterfly": butterfly,
}
"""The algorithms that know nothing of hosts, by name."""


def _schedule(name: str, ranks: int, chunks: int, rounds: list[list[Message]]) -> Schedule:
    if ranks < 1:
        raise ValueError(f"{name}: ranks={ranks}; give 1 or more")
    return Schedule(name, ranks, chunks, [messages for messages in rounds if messages])


def simulate(schedule: Schedule, tensors: np.ndarray) -> list[np.ndarray]:
    """What the ranks hold before the first round and after each: a list of [ranks, elements] arrays.

    `tensors` is [ranks, elements]; row r is what rank r starts with.
    """
    states = [np.array(tensors)]
    for messages in schedule.rounds:
        before = np.array_split(states[-1], schedule.chunks, axis=1)
        after = [chunk.copy() for chunk in before]
        for m in messages:
            for c in range(m.start, m.stop):
                if m.add:
                    after[c][m.target] += before[c][m.source]
                else:
                    after[c][m.target] = before[c][m.source]
        states.append(np.concatenate(after, axis=1))
    return states


def bytes_sent(schedule: Schedule, nbytes: float) -> np.ndarray:
    """Bytes that each rank sends for a tensor of `nbytes`: a [ranks] array."""
    sent = np.zeros(schedule.ranks)
    for m in (m for messages in schedule.rounds for m in messages):
        sent[m.source] += (m.stop - m.start) / schedule.chunks * nbytes
    return sent


def volume(name: str, ranks: int) -> float:
    """Tensor sizes that all ranks send together, by the formula of the textbook (n a power of two for butterfly)."""
    n = ranks
    return {"naive": n * (n - 1), "driver": 2 * (n - 1), "tree": 2 * (n - 1)}.get(name, 2.0 * (n - 1))


def cost(schedule: Schedule, nbytes: float, alpha: float, beta: float, lanes: float = float("inf")) -> float:
    """Seconds of an all-reduce of `nbytes` in the alpha-beta model.

    A message of m bytes takes `alpha` + `beta` m seconds. A rank sends one message at a time and receives one at a
    time (one port, both directions at once); a round ends when its slowest rank has finished. Where the ranks share
    one machine, its processor copies for `lanes` messages at once, so that a round of many messages takes the sum of
    all of them over `lanes`, if that is longer.
    """
    total = 0.0
    for messages in schedule.rounds:
        sending, receiving = np.zeros(schedule.ranks), np.zeros(schedule.ranks)
        for m in messages:
            seconds = alpha + beta * (m.stop - m.start) / schedule.chunks * nbytes
            sending[m.source] += seconds
            receiving[m.target] += seconds
        total += max(sending.max(), receiving.max(), sending.sum() / lanes)
    return total
