# replaces: scheduler.py
# method: requests as objects that know their state; a class for each policy says who works
import math
from collections import deque


class Request:
    def __init__(self, arrival, prompt, output):
        self.arrival, self.unread, self.output = arrival, prompt, output
        self.times = []

    @property
    def over(self):
        return len(self.times) >= self.output

    def read(self, tokens, now):
        self.unread -= tokens
        if self.unread == 0:
            self.times.append(now)

    def decode(self, now):
        if not self.over:
            self.times.append(now)


class Engine:
    def __init__(self, queue, places, budget):
        self.queue, self.places, self.budget, self.batch, self.now = queue, places, budget, [], 0

    def next(self):
        if self.queue and self.queue[0].arrival <= self.now and len(self.batch) < self.places:
            self.batch.append(self.queue.popleft())
            return self.batch[-1]
        return None

    def everyone(self):
        return [(request, request.unread) for request in iter(self.next, None)]

    def leave(self):
        self.batch = [request for request in self.batch if not request.over]


class Static(Engine):
    def work(self):
        return ([], self.batch) if self.batch else (self.everyone(), [])

    def leave(self):
        if all(request.over for request in self.batch):
            self.batch = []


class PrefillFirst(Engine):
    def work(self):
        reads = self.everyone()
        return (reads, []) if reads else ([], self.batch)


class Chunked(Engine):
    def work(self):
        decodes = [request for request in self.batch if request.unread == 0]
        reads, room = [], self.budget - len(decodes)
        for request in [request for request in self.batch if request.unread]:
            if room:
                reads.append((request, min(room, request.unread)))
                room -= reads[-1][1]
        while room:
            request = self.next()
            if request is None:
                break
            reads.append((request, min(room, request.unread)))
            room -= reads[-1][1]
        return reads, decodes


def simulate(requests, policy, places, budget, cost):
    kinds = {"static": Static, "prefill_first": PrefillFirst, "chunked": Chunked}
    if policy not in kinds:
        raise ValueError(f"unknown policy {policy}")
    everyone = [Request(one["arrival"], one["prompt"], one["output"]) for one in requests]
    engine = kinds[policy](deque(sorted(everyone, key=lambda one: one.arrival)), places, budget)
    while engine.queue or engine.batch:
        if not engine.batch:
            engine.now = max(engine.now, engine.queue[0].arrival)
        reads, decodes = engine.work()
        decodes = list(decodes)
        tokens = sum(count for _, count in reads)
        engine.now += cost[0] + cost[1] * tokens + cost[2] * len(decodes)
        for request, count in reads:
            request.read(count, engine.now)
        for request in decodes:
            request.decode(engine.now)
        engine.leave()
    return [request.times for request in everyone]


def metrics(requests, times):
    waits = sorted(each[0] - one["arrival"] for one, each in zip(requests, times, strict=True))
    paces = [(each[-1] - each[0]) / (len(each) - 1) for each in times if len(each) > 1]
    begin = min(one["arrival"] for one in requests)
    end = max(each[-1] for each in times)
    return {
        "ttft": math.fsum(waits) / len(waits),
        "tpot": math.fsum(paces) / len(paces) if paces else 0.0,
        "ttft_p95": waits[math.ceil(len(waits) * 95 / 100) - 1],
        "throughput": 1e6 * sum(len(each) for each in times) / (end - begin),
    }
