"""Schedules executed by real ranks with real messages, in which a pass is a sleep: many machines on two cores.

Ranks that sleep do not disturb each other, so four of them show the times of four devices. `pipeline` runs the same
schedules with a model in the stages.
"""

import time

import torch
import torch.distributed as dist

from effdl import launch
from week04_large_models.schedules import Action, Schedule, Timeline


def run_on_rank(
    schedules: list[Schedule], forward: list[float], backward: list[float]
) -> list[list[tuple[Action, float, float]]]:
    """On a rank: execute its part of each schedule; for each, tuples (action, start, end) in seconds.

    `forward` and `backward` are the seconds of a pass in each schedule.
    """
    return [_execute(*case) for case in zip(schedules, forward, backward, strict=True)]


def _execute(schedule: Schedule, forward: float, backward: float) -> list[tuple[Action, float, float]]:
    rank = dist.get_rank()
    place = {action.stage: owner for owner, actions in enumerate(schedule) for action in actions}
    everything = [action for actions in schedule for action in actions]
    numbers = {action: number for number, action in enumerate(everything)}  # the same on all ranks
    message, sent, done = torch.zeros(1), [], []
    dist.barrier()
    for action in schedule[rank]:
        before, after = _neighbours(action)
        if place.get(before.stage, rank) != rank:
            dist.recv(torch.zeros(1), place[before.stage], tag=numbers[before])
        start = time.monotonic()  # one clock for all processes of a machine
        time.sleep(forward if action.kind == "F" else backward)
        done.append((action, start, time.monotonic()))
        if place.get(after.stage, rank) != rank:
            # A rank that waited here until its message is taken could wait for one that waits for it.
            sent.append(dist.isend(message, place[after.stage], tag=numbers[action]))
    for message_on_its_way in sent:
        message_on_its_way.wait()
    return done


def _neighbours(action: Action) -> tuple[Action, Action]:
    """Whose result an action needs from the neighbouring stage, and who needs its own; such a stage may not exist."""
    step = 1 if action.kind == "F" else -1
    return tuple(Action(action.kind, action.stage + way * step, action.micro_batch) for way in (-1, 1))


def measure(schedules: dict[str, Schedule], forward: dict[str, float]) -> dict[str, Timeline]:
    """The timelines of schedules on real ranks; a forward takes `forward` seconds, a backward twice as long."""
    times = list(forward.values())
    by_rank = launch.run(
        run_on_rank,
        ranks=len(next(iter(schedules.values()))),
        args=(list(schedules.values()), times, [2 * seconds for seconds in times]),
    )
    return {name: _timeline([rank[number] for rank in by_rank]) for number, name in enumerate(schedules)}


def _timeline(ranks: list[list[tuple[Action, float, float]]]) -> Timeline:
    """The same times, counted from the first start."""
    first = min(start for done in ranks for _, start, _ in done)
    return Timeline([[(a, start - first, end - first) for a, start, end in done] for done in ranks])
