"""Which users of the machine root's workers are."""

from __future__ import annotations


def worker_users(mapped: str) -> range:
    """Return the user ids that root's workers run as, a job each, and nobody else does.

    The kernel counts descriptors in flight, waiting signals, pipes and more per user, so that one job's hoard
    would be its neighbours' want. 61184 to 65519 are systemd's for services of any day, its containers begin at
    524288, people end at 60000, homes at 60513, and distributions hand out 100000 and up to people's containers.
    In a container of 65536 users, as /proc/self/uid_map says in `mapped`, a narrow range is left.
    """
    above = range(97_001, 98_001)
    lines = [list(map(int, line.split())) for line in mapped.splitlines()]
    known = [range(first, first + count) for first, _, count in lines]
    if not lines or any(above[0] in some and above[-1] in some for some in known):
        return above
    return range(60_578, 61_184)


def _users_here() -> range:
    try:
        with open("/proc/self/uid_map") as file:
            return worker_users(file.read())
    except OSError:  # no Linux, and no sandbox
        return worker_users("")


WORKER_UIDS = _users_here()
