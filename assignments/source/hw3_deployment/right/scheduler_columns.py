# replaces: scheduler.py
# method: NumPy columns of what is left of each request, and masks instead of lists
import numpy as np


def simulate(requests, policy, places, budget, cost):
    if policy not in ("static", "prefill_first", "chunked"):
        raise ValueError(policy)
    arrival, prompt, output = (
        np.array([one[key] for one in requests]) for key in ("arrival", "prompt", "output")
    )
    order = np.argsort(arrival, kind="stable")
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order))
    unread, lacking = prompt.copy(), output.copy()
    held, over = np.zeros(len(order), bool), np.zeros(len(order), bool)
    begun = np.full(len(order), -1)
    times, now, turn = [[] for _ in requests], 0, 0
    while not over.all():
        turn += 1
        here = ~held & ~over & (arrival <= now)
        if not held.any() and not here.any():
            now = int(arrival[~over].min())
            continue
        reads = np.zeros(len(order), dtype=int)
        decodes = np.zeros(len(order), bool)
        new = order[here[order]][: places - held.sum()]
        if policy == "chunked":
            decodes = held & (unread == 0)
            room = budget - decodes.sum()
            old = np.flatnonzero(held & (unread > 0))
            for each in [*old[np.lexsort((rank[old], begun[old]))], *new]:
                reads[each] = min(room, unread[each])
                room -= reads[each]
        elif policy == "prefill_first" or not held.any():
            reads[new] = unread[new]
        if policy != "chunked" and not reads.any():
            decodes = held.copy()
        begun[(reads > 0) & ~held] = turn
        held |= reads > 0
        now += int(cost[0] + cost[1] * reads.sum() + cost[2] * decodes.sum())
        unread -= reads
        for each in np.flatnonzero((decodes | (reads > 0) & (unread == 0)) & (lacking > 0)):
            times[each].append(now)
            lacking[each] -= 1
        ended = held & (lacking == 0)
        if policy != "static" or (ended == held).all():
            held &= ~ended
            over |= ended
    return times


def metrics(requests, times):
    first = np.array([each[0] for each in times]) - [one["arrival"] for one in requests]
    gaps = [np.diff(each).mean() for each in times if len(each) > 1]
    span = max(each[-1] for each in times) - min(one["arrival"] for one in requests)
    return {
        "ttft": first.mean(),
        "tpot": np.mean(gaps) if gaps else 0.0,
        "ttft_p95": np.sort(first)[int(np.ceil(0.95 * len(first) - 1e-9)) - 1],
        "throughput": sum(map(len, times)) / (span / 1e6),
    }
